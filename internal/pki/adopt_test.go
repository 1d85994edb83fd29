package pki

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What one host made and another adopted signs for both; what a host is not to have is
// neither needed nor taken from elsewhere.
func TestAHostAdoptsWhatAllHaveInCommon(t *testing.T) {
	first, second := newFixture(t), newFixture(t)
	first.EmbeddedEtcd, second.EmbeddedEtcd = false, false
	first.ensure()
	if err := Adopt(second.Options.Dir, first.Options.Dir.PKI()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "internal/ca.key", "sa.key", "sa.pub"} {
		if first.bytes(first.pki(name)) != second.bytes(second.pki(name)) {
			t.Errorf("%s is not the same", name)
		}
	}
	if info, err := os.Stat(second.pki("internal/ca.key")); err != nil || info.Mode().Perm() != keyMode {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(second.pki("apiserver.key")); err == nil {
		t.Error("it was given a certificate of the first host")
	}
	second.ensure()
	if err := Adopt(second.Options.Dir, first.Options.Dir.PKI()); err != nil {
		t.Errorf("a second start: %v", err)
	}
}

func TestWhatCannotBeAdoptedIsTold(t *testing.T) {
	first, second, third := newFixture(t), newFixture(t), newFixture(t)
	first.ensure()
	second.ensure()
	err := Adopt(second.Options.Dir, first.Options.Dir.PKI())
	if err == nil || !strings.Contains(err.Error(), "is not the same as "+filepath.Join(first.Options.Dir.PKI(), "sa.key")) {
		t.Errorf("another cluster's keys: %v", err)
	}
	first.remove("internal/ca.crt", "sa.key", "sa.pub")
	err = Adopt(third.Options.Dir, first.Options.Dir.PKI())
	if err == nil || !strings.Contains(err.Error(), "internal/ca.crt") {
		t.Errorf("without the internal CA: %v", err)
	}
}
