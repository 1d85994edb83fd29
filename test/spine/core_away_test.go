package spine

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// answerBound is longer than the head waits for core's verdict about a token.
const answerBound = 45 * time.Second

// orUnavailable expects 200, or the 503 that invites to come again.
func orUnavailable(answer harness.Answer, err error) bool {
	if err != nil || answer.Code == http.StatusOK {
		return err == nil
	}
	var status struct{ Kind, Reason string }
	return answer.Code == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "" &&
		json.Unmarshal(answer.Body, &status) == nil && status.Kind == "Status" && status.Reason == "ServiceUnavailable"
}

// Core alone knows tokens. While it is away nobody is told that his is bad, after
// which controllers exit, and nobody waits without end; who shows a certificate
// goes on with what the head and extensions serve, by the rights he had.
func TestWithoutCoreNoTokenIsCalledBad(t *testing.T) {
	t.Parallel() // it waits more than it works
	file := harness.TempDir(t) + "/tokens.csv"
	harness.WriteFile(t, file, []byte("admin-token,root,8,system:masters\n"), 0o600)
	c := harness.Run(t, harness.Options{Args: []string{"--token-auth-file=" + file}})
	const group = "coreless.example.com"
	installCRD(t, &c.API, group)
	elsewhere := []string{gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices"}
	reader := readerOf(t, &c.API, c.CA(t), group)
	for _, path := range elsewhere {
		harness.Eventually(t, soon, "the right to "+path, func() error { return answersWith(t, reader, path, http.StatusOK) })
	}
	bearer := rest.AnonymousClientConfig(c.Config(t))
	bearer.BearerToken, bearer.Timeout = "admin-token", answerBound

	for _, loss := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"hanging", syscall.SIGSTOP}} {
		t.Run(loss.name, func(t *testing.T) {
			pid := c.WaitReady(t).Replica("core").PID
			tokens := harness.MustLoad(t, bearer, 4, append(elsewhere, "/api/v1/namespaces", "/version"), orUnavailable)
			certificates := harness.MustLoad(t, c.Config(t), 2, elsewhere, harness.IsOK)
			rights := harness.MustLoad(t, reader, 2, elsewhere, harness.IsOK)
			if err := syscall.Kill(pid, loss.signal); err != nil {
				t.Fatal(err)
			}
			c.WaitStatus(t, harness.StartBound, "core is replaced", func(s harness.Status) bool {
				return s.Phase == "Ready" && s.Replica("core").PID != pid && s.Replica("core").PID != 0
			})
			for who, load := range map[string]*harness.Load{"tokens": tokens, "certificates": certificates, "rights": rights} {
				report := load.Stop()
				if len(report.Failures) > 0 || report.OK() == 0 {
					t.Errorf("%s: answers %v, unexpected are %d:\n%s", who, report.Codes, len(report.Failures),
						firstLines(strings.Join(report.Failures, "\n"), 10))
				}
				if away := report.Codes[http.StatusServiceUnavailable]; (away == 0) == (who == "tokens") {
					t.Errorf("%s: %d were told that core is away: %v", who, away, report.Codes)
				}
			}
			for _, path := range append(elsewhere, "/api/v1/namespaces") {
				if got := harness.Must(harness.Send(t.Context(), bearer, http.MethodGet, path, ""))(t); got.Code != http.StatusOK {
					t.Errorf("afterwards %s answers %s", path, got)
				}
			}
		})
	}
}
