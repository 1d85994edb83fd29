package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// crashAndRestart ends a process as a crash would and starts it anew at once, as a unit of
// systemd with RestartSec=0 would.
func crashAndRestart(t *testing.T, p *harness.Process, again func() error) {
	t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.Exited()
	if err := again(); err != nil {
		t.Fatal(err)
	}
}

// The stock kube-apiserver loses nothing either: its figures are what ours are compared
// with. It is one process, so its death is that of all three.
func TestStockUnderLoad(t *testing.T) {
	t.Parallel()
	server := harness.RunStock(t)
	healthy := func() error {
		select {
		case <-server.Exited():
			return fmt.Errorf("it has exited: %s", server.Output)
		default:
		}
		got, err := harness.Send(context.Background(), server.Config(t), http.MethodGet, "/readyz", "")
		if err == nil && got.Code != http.StatusOK {
			err = fmt.Errorf("%s", got)
		}
		return err
	}
	s := stage(t, &server.API, kinds, healthy, func() string { return server.Output.String() })
	s.Server = "stock"
	s.Play(t, Fault{Name: "nothing", Budget: time.Second})
	const budget = 45 * time.Second
	for range often(3, 20) {
		s.Play(t, Fault{Name: "kill -9 kube-apiserver", Budget: budget, Break: func(t *testing.T) {
			s.strike()
			crashAndRestart(t, server.Process, server.Again)
		}})
		s.Play(t, Fault{Name: "kill -9 etcd", Budget: budget, Break: func(t *testing.T) {
			s.strike()
			crashAndRestart(t, server.Etcd.Process, server.Etcd.Again)
		}})
	}
	for range often(1, 5) {
		s.Play(t, Fault{Name: "SIGTERM", Budget: budget, Break: func(t *testing.T) {
			began := time.Now()
			server.Signal(syscall.SIGTERM)
			if _, err := server.Wait(harness.StopBound); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped after %v", time.Since(began).Round(time.Millisecond))
			if err := server.Again(); err != nil {
				t.Fatal(err)
			}
		}})
		for _, p := range []struct {
			name string
			of   func() *harness.Process
		}{{"kube-apiserver", func() *harness.Process { return server.Process }}, {"etcd", func() *harness.Process { return server.Etcd.Process }}} {
			s.Play(t, Fault{Name: "SIGSTOP " + p.name + " for 5s", Budget: budget, Break: func(t *testing.T) { standStill(t, p.of().PID(), 5*time.Second) }})
		}
	}
}

// After a restart a watch cannot be resumed from before it, neither here nor at stock: the
// cache of what was begins anew, and informers list.
func TestWatchesResumeAfterARestartLikeStocks(t *testing.T) {
	t.Parallel()
	server, ours := harness.RunStock(t), harness.Run(t, harness.Options{})
	said := map[string]string{}
	for name, side := range map[string]struct {
		api     *harness.API
		restart func()
	}{
		"stock": {&server.API, func() {
			crashAndRestart(t, server.Process, server.Again)
			if err := server.AwaitReady(); err != nil {
				t.Fatal(err)
			}
		}},
		"ours": {&ours.API, func() {
			before := ours.WaitReady(t).Replica("core").PID
			crash(t, ours, "core")
			ours.WaitStatus(t, harness.StartBound, "core is replaced", func(s harness.Status) bool {
				return harness.IsReady(s) && s.Replica("core").PID != before && s.Replica("core").PID != 0
			})
		}},
	} {
		path := kinds[0].path
		write := func(name string) string {
			body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q}}`, name)
			var o object
			harness.Must(harness.Send(t.Context(), side.api.Config(t), http.MethodPost, path, body, "Content-Type", "application/json"))(t).Into(t, &o)
			return o.Metadata.ResourceVersion
		}
		old := write("before")
		write("between")
		side.restart()
		newest := write("after")
		for what, from := range map[string]string{"older": old, "newest": newest} {
			got, err := harness.Send(t.Context(), side.api.Config(t), http.MethodGet, path+"?watch=true&timeoutSeconds=1&resourceVersion="+from, "")
			if err != nil {
				t.Fatal(err)
			}
			said[name+" "+what] = firstOf(got)
		}
	}
	t.Log(said)
	for _, what := range []string{"older", "newest"} {
		if said["ours "+what] != said["stock "+what] {
			t.Errorf("a watch from the %s resourceVersion is answered %s, by stock %s", what, said["ours "+what], said["stock "+what])
		}
	}
	if !strings.Contains(said["stock older"], "410") {
		t.Errorf("stock answers %s: docs/explanation/faults.md says 410", said["stock older"])
	}
}

// firstOf is the status of a watch, or of its first event if that is an error.
func firstOf(got harness.Answer) string {
	var e struct {
		Type   string
		Object struct{ Code int }
	}
	if json.NewDecoder(strings.NewReader(string(got.Body))).Decode(&e) == nil && e.Type == "ERROR" {
		return fmt.Sprintf("%d, %d in the stream", got.Code, e.Object.Code)
	}
	return fmt.Sprint(got.Code)
}
