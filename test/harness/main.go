package harness

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared are the servers that tests use together, because they only read or
// keep to names of their own. Main ends them.
var shared struct {
	sync.Mutex
	cluster *Cluster
	stock   *Stock
	// errors of a start, so that it is tried once.
	clusterErr, stockErr error
}

// Main is a package's TestMain. It also is the program of the etcd that
// StartEtcd starts. more are targets of the Makefile that the package needs
// beside what Build makes.
func Main(m interface{ Run() int }, more ...string) {
	ChildMain()
	err := Build()
	if err == nil && len(more) > 0 {
		err = Make(more...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := closeShared(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// ChildMain runs etcd and exits if this process was started for that. Programs
// that call StartEtcd or LaunchStock call it first.
func ChildMain() {
	if dir := os.Getenv(etcdEnv); dir != "" {
		if err := serveEtcd(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Shared returns the cluster that all tests of a package use together. A test
// that stops, kills or reconfigures anything runs its own.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.clusterErr == nil {
		shared.cluster, shared.clusterErr = launchShared()
	}
	if shared.clusterErr != nil {
		t.Fatal(shared.clusterErr)
	}
	return shared.cluster
}

func launchShared() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return nil, err
	}
	c, err := Launch(Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	if _, err := c.AwaitStatus(StartBound, "phase Ready", IsReady); err != nil {
		said := c.KeepLogs("shared")
		c.Close()
		return nil, fmt.Errorf("cannot start the shared cluster: %w\n%s", err, said)
	}
	return c, nil
}

// SharedStock returns the stock server that all tests of a package use together.
func SharedStock(t testing.TB) *Stock {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.stock == nil && shared.stockErr == nil {
		shared.stock, shared.stockErr = launchSharedStock()
	}
	if shared.stockErr != nil {
		t.Fatal(shared.stockErr)
	}
	return shared.stock
}

func launchSharedStock() (*Stock, error) {
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		return nil, err
	}
	s, err := LaunchStock(dir)
	if err != nil {
		return nil, err
	}
	if err := s.AwaitReady(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func closeShared(failed bool) (err error) {
	if c := shared.cluster; c != nil {
		err = c.Close()
		if failed || err != nil {
			fmt.Println(c.KeepLogs("shared"))
		}
		os.RemoveAll(c.Dir)
	}
	if s := shared.stock; s != nil {
		if stockErr := s.Close(); err == nil {
			err = stockErr
		}
		os.RemoveAll(s.Dir)
	}
	return err
}
