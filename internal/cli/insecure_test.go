package cli_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// runInsecure runs a supervisor with an insecure port, and returns its URL.
func runInsecure(t *testing.T, i *installation) (*supervisor, string) {
	t.Helper()
	// 0 means no insecure port, and not any.
	port := harness.Must(harness.FreePort())(t)
	s := i.run(fmt.Sprintf("--insecure-port=%d", port))
	return s, fmt.Sprintf("http://127.0.0.1:%d", port)
}

// plain asks the insecure port, without keeping the connection.
func plain(t *testing.T, url string) (*http.Response, string, error) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestTheInsecurePortOpensWithTheHeadAndSurvivesIt(t *testing.T) {
	i := install(t)
	i.behave(tier.Aggregator, behavior{NeverReady: true})
	s, url := runInsecure(t, i)
	s.line("aggregator-0: prepared", 1)
	resp, body, err := plain(t, url)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "not been ready yet") {
		t.Errorf("before the head is ready: %v, %v, %s", resp, err, body)
	}
	starting, _ := s.status()
	if starting.InsecureURL != "" {
		t.Errorf("the status shows %s", starting.InsecureURL)
	}
	i.behave(tier.Aggregator, behavior{})
	kill(t, replicaOf(starting, tier.Aggregator).PID)
	if now := s.ready(); now.InsecureURL != url {
		t.Errorf("the status shows %q, want %s", now.InsecureURL, url)
	}
	s.line("serving "+url, 1)
	for range 2 {
		pid := replicaOf(s.ready(), tier.Aggregator).PID
		resp, body, err := plain(t, url)
		want := fmt.Sprintf("system:unsecured [system:masters system:authenticated] %d\n", pid)
		if err != nil || resp.StatusCode != 200 || body != want {
			t.Errorf("%v, %v, %q, want %q", resp, err, body, want)
		}
		if r := s.do("restart", "aggregator"); r.code != cli.ExitOK {
			t.Fatal(r.stderr)
		}
	}
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestTheInsecurePortStopsFirst: while the head still takes its time, the port
// is closed and its watches have ended.
func TestTheInsecurePortStopsFirst(t *testing.T) {
	i := install(t)
	i.behave(tier.Aggregator, behavior{StopTakes: time.Hour})
	s, url := runInsecure(t, i)
	s.ready()
	watch, err := http.Get(url + "/api/v1/pods?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Body.Close()
	events := bufio.NewReader(watch.Body)
	if line, err := events.ReadString('\n'); err != nil || !strings.HasPrefix(line, "system:unsecured") {
		t.Fatalf("%q, %v", line, err)
	}
	s.signal(syscall.SIGTERM)
	if _, err := events.ReadByte(); err != io.EOF {
		t.Errorf("the watch ends with %v", err)
	}
	s.line("aggregator-0: stopping", 1)
	if resp, _, err := plain(t, url); err == nil {
		t.Errorf("the port is open: %s", resp.Status)
	}
	if status, code := s.status(); status.InsecureURL != "" || code != cli.ExitStopping {
		t.Errorf("the status shows %q, exit code %d", status.InsecureURL, code)
	}
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != cli.ExitForced {
		t.Errorf("exit code %d", code)
	}
}

func TestThereIsNoInsecurePortUnlessAskedFor(t *testing.T) {
	t.Setenv("INSECURE_PORT", "8080")
	t.Setenv("TRIPTYCH_INSECURE_PORT", "8080")
	s := install(t).run()
	now := s.ready()
	if now.InsecureURL != "" || strings.Contains(s.out.String(), "without TLS") || strings.Contains(s.out.String(), "insecure") {
		t.Errorf("%q, %s", now.InsecureURL, s.out)
	}
}
