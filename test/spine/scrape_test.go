package spine

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// ofTheSupervisor is how metrics begin that the supervisor has itself.
const ofTheSupervisor = "triptych_supervisor_"

// The supervisor's own metrics are there when every tier is away, and for nobody without credentials.
func TestTheSupervisorsMetricsOutliveTheTiers(t *testing.T) {
	token := harness.TempDir(t) + "/token"
	harness.WriteFile(t, token, []byte("s3cret\n"), 0o600)
	address := fmt.Sprintf("127.0.0.1:%d", harness.Must(harness.FreePort())(t))
	c := harness.Run(t, harness.Options{Args: []string{"--metrics-bind-address=" + address, "--metrics-token-file=" + token, "--snapshot-schedule=24h"}})
	admin := c.TLS(t)
	nobody := &tls.Config{RootCAs: admin.RootCAs}
	get := func(config *tls.Config, bearer string) (int, string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: true}, Timeout: soon}
		r := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/metrics", nil))(t)
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		return resp.StatusCode, string(harness.Must(io.ReadAll(resp.Body))(t))
	}
	harness.Eventually(t, soon, "all metrics", func() error {
		code, text := get(admin, "")
		if code != http.StatusOK || !strings.Contains(text, "triptych_supervisor_etcd_quota_bytes ") || strings.Count(text, "triptych_supervisor_replica_watches{") != 3 {
			return fmt.Errorf("%d: %s", code, text)
		}
		return nil
	})
	_, whole := get(admin, "")
	var names []string
	for family := range families([]byte(whole)) {
		name, _, _ := strings.Cut(family, " ")
		names = append(names, name)
	}
	namesAreDocumented(t, names, func(name string) bool { return strings.HasPrefix(name, ofTheSupervisor) })
	for _, tier := range []string{"aggregator", "core", "extensions"} {
		if _, stderr, code := c.Supervisor(t.Context(), "stop", tier); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
	}
	code, text := get(admin, "")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	for _, want := range []string{
		`triptych_supervisor_phase{phase="Degraded"} 1`, `triptych_supervisor_replica_ready{replica="core-0",tier="core"} 0`,
		`triptych_supervisor_replica_state{replica="extensions-0",state="stopped by operator",tier="extensions"} 1`,
		`triptych_supervisor_replica_ready{replica="etcd",tier="etcd"} 1`, `triptych_supervisor_replica_restarts_total{replica="core-0",tier="core"} 0`,
		`triptych_supervisor_stage_duration_seconds_count{stage="ready",tier="aggregator"} 1`, "triptych_supervisor_etcd_size_bytes ",
		`triptych_supervisor_certificate_expiration_timestamp_seconds{certificate="ca"}`, "process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if code, text := get(nobody, "s3cret"); code != http.StatusOK {
		t.Errorf("with the token: %d %s", code, text)
	}
	for bearer, config := range map[string]*tls.Config{"": nobody, "wrong": nobody} {
		if code, text := get(config, bearer); code != http.StatusUnauthorized || strings.Contains(text, "triptych") {
			t.Errorf("with the token %q: %d %s", bearer, code, text)
		}
	}
	jane := nobody.Clone()
	jane.Certificates = []tls.Certificate{harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "jane", Usage: clientAuth}))(t).TLS()}
	if code, text := get(jane, ""); code != http.StatusForbidden {
		t.Errorf("a user of no group: %d %s", code, text)
	}
	stranger := nobody.Clone()
	foreign := harness.Must(harness.NewCA("foreign"))(t)
	stranger.Certificates = []tls.Certificate{harness.Must(foreign.Issue(harness.Leaf{CommonName: "root", Organization: []string{"system:masters"}, Usage: clientAuth}))(t).TLS()}
	// A client that is asked for a certificate of another CA does not show its own; shown all the same, it is refused.
	stranger.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger.Certificates[0], nil }
	if code, text := get(stranger, ""); code != 0 {
		t.Errorf("a certificate of another CA: %d %s", code, text)
	}
	if log := string(harness.Must(os.ReadFile(c.Path("log", "supervisor.log")))(t)); !strings.Contains(log, `"Turned a peer away" listener="metrics"`) {
		t.Errorf("who was refused is not told:\n%s", log)
	}
}
