package dashboard

import (
	"fmt"
	"syscall"
	"testing"

	"triptych.dev/triptych/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// killed kills core, as a crash would.
func killed(c *harness.Cluster) error {
	s, _, err := c.Status()
	if err != nil {
		return err
	}
	pid := s.Replica("core").PID
	if pid == 0 {
		return fmt.Errorf("core does not run: %s", s)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
