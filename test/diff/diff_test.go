package diff

import (
	"os"
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// scenes in the order in which they are played.
var scenes = slices.Concat(documents, objects, writing, customs, admitted, people, addresses)

// flags turn on what scenes are about and is off by default.
var flags = []string{
	"--enable-admission-plugins=OwnerReferencesPermissionEnforcement", `--cors-allowed-origins=//browser\.example\.com$`,
}

// No client can tell ours from stock by any answer.
func TestNoAnswerDiffersFromStocks(t *testing.T) {
	c, stock := harness.Run(t, harness.Options{Args: flags}), harness.RunStock(t, flags...)
	ours, other := newSide(t, "ours", &c.API, c.Dir), newSide(t, "stock", &stock.API, stock.Dir)
	t.Run("untouched", func(t *testing.T) {
		(&play{ours: ours, stock: other, n: 1}).perform(t, scenes)
	})
	t.Run("each tier restarted in between", func(t *testing.T) {
		tiers := []string{"extensions", "core", "aggregator"}
		restart := func(t *testing.T, scene int) {
			if out, errs, code := c.Supervisor(t.Context(), "restart", tiers[scene%len(tiers)]); code != 0 {
				t.Fatalf("restart: %d %s%s", code, out, errs)
			}
		}
		(&play{ours: ours, stock: other, n: 2, before: restart}).perform(t, scenes)
	})
	t.Run("direct mode", func(t *testing.T) {
		c := harness.Run(t, harness.Options{Args: append(flags, "--without-aggregator")})
		(&play{ours: newSide(t, "ours", &c.API, c.Dir), stock: other, n: 3, direct: true}).perform(t, scenes)
	})
}

// A difference is kept only in public.
func TestKeptDifferencesAreDocumented(t *testing.T) {
	document := string(harness.Must(os.ReadFile("../../docs/reference/differences.md"))(t))
	titles := map[string]bool{}
	for _, sc := range scenes {
		for _, st := range sc.steps {
			if key := sc.name + "/" + st.title(); titles[key] {
				t.Errorf("there are two steps %q", key)
			} else {
				titles[key] = true
			}
		}
	}
	for _, e := range kept {
		if !strings.Contains(document, e.why) {
			t.Errorf("docs/reference/differences.md does not say: %s", e.why)
		}
		if !titles[e.scene+"/"+e.step] {
			t.Errorf("there is no step %s/%s", e.scene, e.step)
		}
	}
}
