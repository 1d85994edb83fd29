package keyspace

import (
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

// owners returns who stores the key.
func owners(key, prefix string) []tier.Name {
	var all []tier.Name
	for _, name := range tier.Order {
		for _, s := range Stored(name, prefix) {
			if s.From <= key && key < s.To {
				all = append(all, name)
			}
		}
	}
	return all
}

func TestEveryKeyIsOneTiers(t *testing.T) {
	for key, want := range map[string]tier.Name{
		"secrets/default/token":                                tier.Core,
		"services/specs/default/kubernetes":                    tier.Core,
		"ranges/serviceips":                                    tier.Core,
		"masterleases/192.0.2.1":                               tier.Core,
		"apiregistration.k8s.io/apiservices/v1.":               tier.Aggregator,
		"apiextensions.k8s.io/customresourcedefinitions/a.b.c": tier.Extensions,
		"example.com/gadgets/default/one":                      tier.Extensions,
		"secrets.example.com/secrets/default/one":              tier.Extensions,
		"secretsx.example.com/secrets/default/one":             tier.Extensions,
		"a.b/c/d":            tier.Extensions,
		"zz.example.com/z/z": tier.Extensions,
		"apiregistration.k8s.io.example.com/things/default/thing": tier.Extensions,
		"triptych/extensions-holder":                              tier.Extensions,
		"health":                                                  tier.Extensions,
	} {
		for _, prefix := range []string{"/registry", "registry/", "/", "/deep/er"} {
			if got := owners(Root(prefix)+key, prefix); !slices.Equal(got, []tier.Name{want}) {
				t.Errorf("%s below %s is stored by %v, want %s", key, prefix, got, want)
			}
		}
	}
	if got := owners("/elsewhere", "/registry"); got != nil {
		t.Errorf("what is not below the prefix is stored by %v", got)
	}
}

// A group has a dot, so no segment with one may be core's, and none may be taken for a
// prefix of another's.
func TestNoSegmentIsAGroup(t *testing.T) {
	if len(builtIn) < 60 || !slices.IsSorted(builtIn) {
		t.Errorf("%d segments, sorted: %v", len(builtIn), slices.IsSorted(builtIn))
	}
	for _, segment := range builtIn {
		if strings.ContainsAny(segment, "./") {
			t.Errorf("%q may be a group of custom resources", segment)
		}
	}
}

// Keys that nobody stores, which are asked for alone, do not count.
func TestRightsCoverNothingOfOthers(t *testing.T) {
	for _, name := range tier.Order {
		for _, other := range tier.Order {
			for _, r := range Rights(name, "/registry", true) {
				for _, s := range Stored(other, "/registry") {
					overlap := r.From < s.To && s.From < r.To
					if overlap && name != other && !r.One() {
						t.Errorf("%s may touch %v of %s by %v", name, s, other, r)
					}
				}
			}
		}
	}
}
