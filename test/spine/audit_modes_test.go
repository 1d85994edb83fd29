package spine

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// A strict webhook that is away fails requests in every tier as in stock, the log on
// standard output has their events all the same, and both go on when it is back.
func TestStrictAuditWebhookLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata, users: [kubernetes-admin]}]\n"), 0o600)
	sinks := map[string]*harness.AuditSink{}
	for _, name := range []string{"ours", "stock"} {
		sinks[name] = harness.StartAuditSink(t)
		if err := os.Symlink(sinks[name].Kubeconfig, files+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	ours, stock := sideBySide(t, "--audit-policy-file="+files+"/policy.yaml", "--audit-webhook-config-file="+files+"/SIDE",
		"--audit-webhook-mode=blocking-strict", "--audit-webhook-initial-backoff=1ms",
		"--audit-log-path=-", "--audit-log-format=legacy", "--audit-log-mode=batch")
	for _, b := range []*beside{ours, stock} {
		installCRD(t, b.API, "strict.example.com")
		b.Kubectl(t, "wait", "--for=create", "--timeout=60s", "namespace/default")
	}
	for i, path := range []string{"/api/v1/namespaces/default/configmaps", "/api/v1/configmaps?watch=true&timeoutSeconds=1", gadgetsPath("strict.example.com"),
		"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps", "/version", "/nothing"} {
		for _, away := range []bool{true, false} {
			id := fmt.Sprintf("strict-%d-%v.", i, away)
			for _, sink := range sinks {
				sink.Away.Store(away)
			}
			tell := func(b *beside, sink *harness.AuditSink) []string {
				got := b.Get(t, path, "Audit-Id", id)
				said := fmt.Sprint(got.Code, got.Header["Content-Type"])
				if away {
					said += string(got.Body)
				}
				return append([]string{said}, b.toldOf(t, sink, id, away)...)
			}
			// Stock repeats on standard error what the webhook was not sent.
			want, got := slices.Compact(tell(stock, sinks["stock"])), tell(ours, sinks["ours"])
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, away: %v (- stock, + ours)\n%s", path, away, diff)
			}
			if failed := strings.HasPrefix(want[0], "500"); failed != away {
				t.Errorf("%s, away: %v: stock answers %s", path, away, want)
			}
		}
	}
}

// toldOf returns the lines on standard output and the stages that the webhook knows
// of a request. A request that fails for the webhook has no other end.
func (b *beside) toldOf(t *testing.T, sink *harness.AuditSink, id string, away bool) []string {
	t.Helper()
	var told []string
	harness.Eventually(t, soon, "the request is audited", func() error {
		told = nil
		for _, line := range b.output.Lines() {
			if _, event, ok := strings.Cut(line, " AUDIT: "); ok && strings.Contains(event, `id="`+id+`"`) {
				told = append(told, event)
			}
		}
		events, err := b.eventsIn(sink.Path, id)
		for _, event := range events {
			told = append(told, fmt.Sprint("webhook: ", event["stage"]))
		}
		// The log is behind by what is in its batch.
		logged := slices.ContainsFunc(told, func(line string) bool { return strings.Contains(line, `stage="ResponseComplete"`) })
		if whole := logged && slices.Contains(told, "webhook: ResponseComplete"); err == nil && (len(told) == 0 || !away && !whole) {
			err = fmt.Errorf("told %q", told)
		}
		return err
	})
	return told
}

// While tiers are killed and the file is rotated and compressed, the log keeps every
// event of what was answered, whole and once.
func TestAuditLogSurvivesKillsAndRotation(t *testing.T) {
	t.Parallel() // it waits more than it works
	const group = "rotated.example.com"
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request, users: [kubernetes-admin]}]\n"), 0o600)
	log := files + "/log/audit.log"
	c := harness.Run(t, harness.Options{Args: []string{"--audit-policy-file=" + files + "/policy.yaml", "--audit-log-path=" + log,
		"--audit-log-maxsize=1", "--audit-log-maxbackup=100", "--audit-log-maxage=1", "--audit-log-compress"}})
	installCRD(t, &c.API, group)
	createGadget(t, &c.API, group, "one")
	c.Kubectl(t, "create", "configmap", "one")

	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var writers sync.WaitGroup
	answered := map[string]int{}
	large := strings.Repeat("x", 20_000)
	for path, kind := range map[string]string{
		"/api/v1/namespaces/default/configmaps":       `"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"`,
		gadgetsPath(group):                            `"apiVersion": "` + group + `/v1", "kind": "Gadget", "metadata": {"name": "one"`,
		"/apis/apiregistration.k8s.io/v1/apiservices": `"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.apps"`,
	} {
		// An object that is there already: much to write, and a short answer.
		body, config := "{"+kind+`, "annotations": {"large": "`+large+`"}}}`, c.Config(t)
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("kept%s-%d.", path, i)
				answer, err := harness.Send(ctx, config, http.MethodPost, path, body, "Content-Type", "application/json", "Audit-Id", id)
				if err == nil && answer.Header.Get("Retry-After") == "" {
					mu.Lock()
					answered[id] = answer.Code
					mu.Unlock()
				}
			}
		})
	}
	for _, tier := range []string{"extensions", "core", "aggregator", "extensions"} {
		rotatedBefore := len(harness.Must(filepath.Glob(files + "/log/*"))(t))
		kill(t, c, tier)
		harness.Eventually(t, soon, "the log is rotated", func() error {
			if found := harness.Must(filepath.Glob(files + "/log/*"))(t); len(found) <= rotatedBefore {
				return fmt.Errorf("%q", found)
			}
			return nil
		})
	}
	cancel()
	writers.Wait()
	c.Stop(t)

	events := map[string]int{}
	for _, line := range rotatedLines(t, files+"/log") {
		var event struct{ AuditID, Stage string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v in a line of %d bytes: %.200s", err, len(line), line)
		}
		events[event.AuditID+event.Stage]++
	}
	codes := map[int]int{}
	for id, code := range answered {
		codes[code]++
		for _, stage := range []string{"RequestReceived", "ResponseComplete"} {
			if n := events[id+stage]; n != 1 {
				t.Errorf("%s, answered %d: %d events %s", id, code, n, stage)
			}
		}
	}
	for event, n := range events {
		if n > 1 && strings.HasPrefix(event, "kept") {
			t.Errorf("%s is there %d times", event, n)
		}
	}
	t.Logf("answered: %v, %d events in %d files", codes, len(events), len(harness.Must(filepath.Glob(files+"/log/*"))(t)))
	if codes[http.StatusConflict] < 50 {
		t.Errorf("hardly anything was answered: %v", codes)
	}
}

// rotatedLines reads all files of a log. One that was being compressed when the
// writer ended is there twice.
func rotatedLines(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, path := range harness.Must(filepath.Glob(dir + "/*"))(t) {
		plain, compressed := strings.CutSuffix(path, ".gz")
		if _, err := os.Stat(plain); compressed && err == nil {
			continue
		}
		f := harness.Must(os.Open(path))(t)
		var in io.Reader = f
		if compressed {
			in = harness.Must(gzip.NewReader(f))(t)
		}
		content := harness.Must(io.ReadAll(in))(t)
		f.Close()
		if len(content) > 1<<20 {
			t.Errorf("%s has %d bytes", path, len(content))
		}
		all = append(all, slices.Collect(strings.Lines(string(content)))...)
	}
	return all
}
