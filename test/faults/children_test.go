package faults

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// badChildren are programs in the place of extensions, as scripts in which $real is the
// program.
var badChildren = map[string]string{
	"exits at once":      `exit 7`,
	"never is ready":     `exec sleep 100000`,
	"flaps":              `(sleep 3; kill -9 $$) & exec $real "$@"`,
	"cannot be executed": `exec /nowhere`,
	// Its handshake is the real one and says ready; the sockets of its hop are others.
	"lies about its health": `for a; do case $a in --wiring=*) w=${a#--wiring=};; esac; done
sed -E 's/"hop": *"fd:[0-9]+"/"hop": "127.0.0.1:0"/' $w > $w.lie
exec $real "$@" --wiring=$w.lie`,
}

// A tier whose program is broken costs what it serves, and is as before once the program
// is: core and the API servers behind the head miss nothing, and nobody is told that custom
// resources do not exist.
func TestBadChildrenUnderLoad(t *testing.T) {
	t.Parallel()
	programs := harness.PrivateBinDir(t)
	c := harness.Run(t, harness.Options{BinDir: programs.Dir, Args: []string{"--user-range=off"}})
	c.KubectlInput(t, gadgetCRD, "create", "-f", "-")
	healthy := func() error {
		s, _, err := c.Status()
		if err == nil && s.Replica("core").Stage != "ready" {
			err = fmt.Errorf("%v", s)
		}
		return err
	}
	s := stage(t, &c.API, []kind{kinds[0], kinds[2]}, healthy, func() string { return "" })
	for range often(1, 5) {
		for _, bad := range sorted(badChildren) {
			s.Play(t, Fault{Name: "extensions " + bad, Budget: time.Second, ReadsSucceed: true, Break: func(t *testing.T) {
				programs.Wrap(t, "extensions", badChildren[bad])
				crash(t, c, "extensions")
				for end := time.Now().Add(8 * time.Second); time.Now().Before(end); last(100 * time.Millisecond) {
					got, err := harness.Send(t.Context(), c.Config(t), http.MethodGet, kinds[1].path, "")
					if err == nil && got.Code != http.StatusOK && got.Code < 500 && got.Code != http.StatusTooManyRequests {
						t.Errorf("a list of custom resources is answered %s", got)
					}
				}
				programs.Mend(t, "extensions")
				crash(t, c, "extensions")
				c.WaitReady(t)
			}})
		}
	}
}

// crash kills the process of a tier that runs, if one does.
func crash(t *testing.T, c *harness.Cluster, tier string) {
	t.Helper()
	s, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	if pid := s.Replica(tier).PID; pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}
