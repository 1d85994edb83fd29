package tier

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryTierButTheLastDelegatesToTheOneBeforeItInOrder(t *testing.T) {
	for name, want := range map[Name]Name{Aggregator: Core, Core: Extensions, Extensions: "", "unheard-of": ""} {
		got, ok := name.Delegate()
		if got != want || ok != (want != "") {
			t.Errorf("%s delegates to %q, %v; want %q", name, got, ok, want)
		}
	}
}

func TestParseTakesEveryTierAndListsThemToWhoeverErrs(t *testing.T) {
	for _, name := range Order {
		if got, err := Parse(string(name)); err != nil || got != name {
			t.Errorf("Parse(%q) = %q, %v", name, got, err)
		}
	}
	for _, wrong := range []string{"", "Core", "core ", "supervisor", "etcd"} {
		got, err := Parse(wrong)
		if err == nil {
			t.Errorf("Parse(%q) = %q", wrong, got)
			continue
		}
		for _, name := range Order {
			if !strings.Contains(err.Error(), string(name)) {
				t.Errorf("Parse(%q) does not name %s: %v", wrong, name, err)
			}
		}
	}
}

func TestStagesAreOrderedAndNothingIsBeforeAllOfThem(t *testing.T) {
	for i, stage := range Stages {
		for j, other := range Stages {
			if got, want := stage.AtLeast(other), i >= j; got != want {
				t.Errorf("%s at least %s: %v, want %v", stage, other, got, want)
			}
		}
		if Stage("").AtLeast(stage) {
			t.Errorf("no stage is at least %s", stage)
		}
		if !stage.AtLeast("") {
			t.Errorf("%s is not at least no stage", stage)
		}
	}
}

func TestTheChainEndsWithItsHead(t *testing.T) {
	for head, want := range map[Name][]Name{Aggregator: {Extensions, Core, Aggregator}, Core: {Extensions, Core}} {
		if got := UpTo(head); !slices.Equal(got, want) {
			t.Errorf("the chain up to %s is %v", head, got)
		}
	}
}
