package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// builtEnv is set by make when it has built every target already.
const builtEnv = "TRIPTYCH_TEST_BUILT"

// targets are what every black-box test may start.
var targets = []string{"build", "kubectl", "stock"}

// Root returns the root of the checkout: the closest folder above the working
// directory (of a test: its package's) that holds go.mod.
var Root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	panic("tests must run inside the checkout")
})

// Bin returns the path of a binary that Build has built: "supervisor",
// "kubectl", "stock/kube-apiserver".
func Bin(name string) string { return filepath.Join(BinDir(), name) }

// BinDir is the folder of the binaries.
func BinDir() string { return filepath.Join(Root(), "bin") }

// Build makes what nearly every black-box test starts, once a test run.
var Build = sync.OnceValue(func() error { return Make(targets...) })

// Make builds targets of the Makefile. It calls make, so that what is tested is
// built as what is shipped, and takes a lock, because go test runs packages side
// by side.
func Make(targets ...string) error {
	if os.Getenv(builtEnv) != "" {
		return nil
	}
	unlock, err := lockBuild()
	if err != nil {
		return err
	}
	defer unlock()
	cmd := exec.Command("make", append([]string{"--no-print-directory", "-C", Root()}, targets...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build what the tests start: %w\n%s", err, out)
	}
	return nil
}

func lockBuild() (unlock func(), err error) {
	if err := os.MkdirAll(BinDir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(Bin(".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}
