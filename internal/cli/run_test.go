package cli_test

import (
	"syscall"
	"testing"

	"triptych.dev/triptych/internal/cli"
)

func TestStartsServesAndStopsInOrder(t *testing.T) {
	s := install(t).run()
	status := s.ready()
	s.line("try: kubectl", 1)
	s.signal(syscall.SIGTERM)
	if code := s.wait(); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	s.gone(pids(status))
	t.Log(s.out.String())
}
