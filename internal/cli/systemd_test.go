package cli_test

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/tier"
)

// TestSystemdIsTold: READY=1 when the head is ready, RELOADING=1 and READY=1 around what
// replaces processes, STOPPING=1 at the stop, and WATCHDOG=1 all the time.
func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "200000")
	i := install(t)
	i.behave(tier.Extensions, behavior{NeverReady: true})
	s := i.run()
	if told := heard(t, l, "READY=1"); !strings.Contains(told, "STATUS=serving https://") {
		t.Errorf("it was told %q", told)
	}
	heard(t, l, "WATCHDOG=1")
	heard(t, l, "WATCHDOG=1")
	if r := s.do("restart", "core"); r.code != cli.ExitOK {
		t.Error(r.stderr)
	}
	if told := heard(t, l, "RELOADING=1"); !strings.Contains(told, "\nMONOTONIC_USEC=") {
		t.Errorf("it was told %q", told)
	}
	heard(t, l, "READY=1")
	s.signal(syscall.SIGTERM)
	heard(t, l, "STOPPING=1")
	s.wait()
}

// TestAReloadBeforeReadyIsNotReady: systemd would start what waits for the API.
func TestAReloadBeforeReadyIsNotReady(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	i := install(t)
	i.behave(tier.Aggregator, behavior{NeverReady: true})
	s := i.run()
	s.line("core-0: ready", 1)
	if r := s.do("restart", "core"); r.code != cli.ExitOK {
		t.Error(r.stderr)
	}
	s.signal(syscall.SIGTERM)
	for _, told := range heardUntil(t, l, "STOPPING=1") {
		if strings.Contains(told, "READY=1") || strings.Contains(told, "RELOADING=1") {
			t.Errorf("it was told %q", told)
		}
	}
	s.wait()
}

// heard returns the first message with want in it.
func heard(t *testing.T, l *net.UnixConn, want string) string {
	t.Helper()
	all := heardUntil(t, l, want)
	return all[len(all)-1]
}

// heardUntil returns all messages up to the first with want in it.
func heardUntil(t *testing.T, l *net.UnixConn, want string) (all []string) {
	t.Helper()
	_ = l.SetReadDeadline(time.Now().Add(patience))
	for b := make([]byte, 4096); ; {
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("%s was not heard: %v, but %q", want, err, all)
		}
		if all = append(all, string(b[:n])); strings.Contains(all[len(all)-1], want) {
			return all
		}
	}
}
