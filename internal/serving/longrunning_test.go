package serving

import (
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/endpoints/request"
)

func TestProfilesLastAsLongAsIsAskedFor(t *testing.T) {
	for path, want := range map[string]bool{
		"/debug/pprof/profile": true, "/debug/tiers/core/debug/pprof/profile": true, "/debug/tiers/core-1/debug/pprof/trace": true,
		"/debug/tiers/core/metrics": false, "/debug/tiers/core/api/debug/pprof/profile": false, "/debug/tiers/": false, "/debug/tiersmen/debug/pprof/profile": false, "/version": false,
	} {
		if got := LongRunning(httptest.NewRequest("GET", path, nil), &request.RequestInfo{Path: path}); got != want {
			t.Errorf("%s is long running: %t", path, got)
		}
	}
	watch := &request.RequestInfo{IsResourceRequest: true, Verb: "watch", Path: "/api/v1/pods"}
	if !LongRunning(httptest.NewRequest("GET", watch.Path, nil), watch) {
		t.Error("a watch has a timeout")
	}
}
