package spine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// Without fairness the old limit counts, in each tier for itself, and refuses in
// stock's words; administrators and the tiers' own calls pass it.
func TestMaxInFlightLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	limits := []string{"--enable-priority-and-fairness=false", "--max-requests-inflight=1", "--max-mutating-requests-inflight=1"}
	c, s := harness.Run(t, harness.Options{Args: limits}), harness.RunStock(t, limits...)
	ours, stock := &flooded{Cluster: c}, &flooded{Cluster: &harness.Cluster{API: s.API}}
	for _, f := range []*flooded{ours, stock} {
		f.hook = harness.StartWebhook(t)
		installCRD(t, &f.API, "inflight.example.com")
		_, objects, _ := strings.Cut(floodObjects, "---\napiVersion: admissionregistration")
		objects = strings.NewReplacer("URL", f.hook.URL, "BUNDLE", f.hook.Bundle()).Replace("apiVersion: admissionregistration" + objects)
		f.KubectlInput(t, objects, "create", "-f", "-")
	}
	const maps = "/api/v1/namespaces/default/configmaps"
	objects := map[string]string{
		maps:                                `{"metadata": {"name": "held"}}`,
		gadgetsPath("inflight.example.com"): `{"apiVersion": "inflight.example.com/v1", "kind": "Gadget", "metadata": {"name": "held"}}`,
		"/apis/apiregistration.k8s.io/v1/apiservices": `{"metadata": {"name": "v1.held.example.com"},
			"spec": {"group": "held.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}}`,
	}
	for path, object := range objects {
		t.Run(path, func(t *testing.T) {
			want, got := stock.fill(t, path, object), ours.fill(t, path, object)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(- stock, + ours)\n%s", diff)
			}
			t.Log(got)
			for _, f := range []*flooded{ours, stock} {
				if got := harness.Must(harness.Send(t.Context(), f.as(t, "jane"), http.MethodGet, path, ""))(t); got.Code != http.StatusOK {
					t.Errorf("reads are not counted with writes: %s", got)
				}
				if got := f.send(t, f.Config(t), path, object); got.Code != http.StatusCreated {
					t.Errorf("an administrator: %s", got)
				}
			}
			if path == maps {
				kill(t, c, "extensions")
				ours.learns(t, gadgetsPath("inflight.example.com"))
			}
		})
	}
}

func (f *flooded) send(t *testing.T, config *rest.Config, path, object string) harness.Answer {
	t.Helper()
	return harness.Must(harness.Send(t.Context(), config, http.MethodPost, path+"?dryRun=All", object, "Content-Type", "application/json"))(t)
}

// fill takes what there is for writes where path is served, until the test ends, and
// returns how the next one is refused.
func (f *flooded) fill(t *testing.T, path, object string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var holder sync.WaitGroup
	t.Cleanup(holder.Wait)
	t.Cleanup(cancel)
	flooder := f.as(t, "flooder")
	holder.Go(func() {
		for ctx.Err() == nil { // the webhook is not known at once
			harness.Send(ctx, flooder, http.MethodPost, path+"?dryRun=All", object, "Content-Type", "application/json")
		}
	})
	var refused string
	harness.Eventually(t, soon, "a write is refused", func() error {
		got := f.send(t, f.as(t, "jane"), path, object)
		if got.Code != http.StatusTooManyRequests {
			return fmt.Errorf("%s", got)
		}
		got.Header.Del("Date")
		got.Header.Del("Audit-Id")
		refused = fmt.Sprint(got, got.Header)
		return nil
	})
	return refused
}
