package spine

import (
	"net/http"
	"regexp"
	"slices"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// flagsOf reads /flagz.
func flagsOf(t *testing.T, api *harness.API) map[string]string {
	t.Helper()
	answer := api.Get(t, "/flagz", "Accept", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz")
	if answer.Code != http.StatusOK {
		t.Fatalf("/flagz: %s", answer)
	}
	var flagz struct{ Flags map[string]string }
	answer.Into(t, &flagz)
	return flagz.Flags
}

// own are values that no two servers have in common, and ownFlags ours on purpose:
// everybody's port, and watches that end with the process. Stock writes the sizes in
// any order.
var own = regexp.MustCompile(`^\[?(/|https://)`)

var ownFlags = []string{"secure-port", "bind-address", "shutdown-watch-termination-grace-period", "watch-cache-sizes"}

// Whoever asks the head which flags are in force is told of all, whichever
// process they were for.
func TestFlagzIsLikeStocks(t *testing.T) {
	ours, stock := flagsOf(t, &harness.Shared(t).API), flagsOf(t, &harness.SharedStock(t).API)
	for name, want := range stock {
		if got, found := ours[name]; !found || got != want && !own.MatchString(want) && !slices.Contains(ownFlags, name) {
			t.Errorf("--%s is %q (%v), on stock %q", name, got, found, want)
		}
	}
	if len(stock) < 100 || ours["wiring"] != "" {
		t.Errorf("%d flags, --wiring=%s", len(stock), ours["wiring"])
	}
}

// Without --profiling nobody gets profiles, of no process, and nobody resets what
// was counted.
func TestProfilingCanBeOffInEveryProcess(t *testing.T) {
	t.Parallel() // it waits more than it works
	c, stock := harness.Run(t, harness.Options{Args: []string{"--profiling=false"}}), harness.RunStock(t, "--profiling=false")
	if got, want := c.Get(t, "/debug/pprof/cmdline").Code, stock.Get(t, "/debug/pprof/cmdline").Code; got != want || got != http.StatusNotFound {
		t.Errorf("profiles: %d, on stock %d", got, want)
	}
	for _, tier := range []string{"core", "extensions", "aggregator"} {
		if got := c.Get(t, "/debug/tiers/"+tier+"/debug/pprof/cmdline"); got.Code != http.StatusNotFound {
			t.Errorf("profiles of %s: %s", tier, got)
		}
	}
	counted := func() (sum float64) {
		for _, n := range countsIn(c.Get(t, "/metrics"), []string{"apiserver_request_total"}) {
			sum += n
		}
		return sum
	}
	before := counted()
	got := harness.Must(harness.Send(t.Context(), c.Config(t), http.MethodDelete, "/metrics", ""))(t)
	want := harness.Must(harness.Send(t.Context(), stock.Config(t), http.MethodDelete, "/metrics", ""))(t)
	if after := counted(); got.Code != want.Code || after < before || before == 0 {
		t.Errorf("reset: %d, on stock %d; counted are %v, before %v", got.Code, want.Code, after, before)
	}
}
