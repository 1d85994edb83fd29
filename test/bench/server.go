package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// server is one of the two.
type server struct {
	name   string
	config *rest.Config
	// pki is the folder of its certificates and keys.
	pki string
	// token is that of a service account that may do everything.
	token string
	// pids are all of its processes but etcd.
	pids  func() ([]int, error)
	close func() error
	// cluster is ours; nil for stock.
	cluster *harness.Cluster
	// made is how many objects were created, gone how many of them were deleted again.
	made, gone int64
}

// startAll starts ours, what it is compared with, stock as a rule, and, unless s.gogc is 0, stock with that GOGC. It returns those that it started with an error too.
func startAll(dir string, s settings) (all []*server, err error) {
	ours, err := startOurs(dir+"/ours", s.flags)
	if err != nil {
		return nil, err
	}
	all = append(all, ours)
	if s.itself {
		plain, err := startOurs(dir+"/plain", nil)
		if err != nil {
			return all, err
		}
		plain.name = "ours without " + strings.Join(s.flags, " ")
		return append(all, plain), nil
	}
	stock, err := startStock("stock", dir+"/stock")
	if err != nil {
		return all, err
	}
	all = append(all, stock)
	if s.gogc == 0 {
		return all, nil
	}
	same, err := startStock(fmt.Sprintf("stock with GOGC=%d", s.gogc), dir+"/same", fmt.Sprintf("GOGC=%d", s.gogc))
	if err != nil {
		return all, err
	}
	return append(all, same), nil
}

func startOurs(dir string, flags []string) (*server, error) {
	c, err := harness.Launch(harness.Options{Dir: dir, Args: flags})
	if err != nil {
		return nil, err
	}
	s := &server{name: "ours", cluster: c, close: c.Close, pki: c.Path("pki"), pids: func() ([]int, error) {
		status, _, err := c.Status()
		pids := []int{c.PID()}
		for _, pid := range status.PIDs() {
			pids = append(pids, pid)
		}
		return pids, err
	}}
	_, err = c.AwaitStatus(harness.StartBound, "phase Ready", harness.IsReady)
	return s.connected(c.Kubeconfig, err)
}

func startStock(name, dir string, env ...string) (*server, error) {
	c, err := harness.LaunchStockWith(env, dir)
	if err != nil {
		return nil, err
	}
	s := &server{name: name, close: c.Close, pki: dir + "/pki", pids: func() ([]int, error) { return []int{c.PID()}, nil }}
	return s.connected(c.Kubeconfig, c.AwaitReady())
}

// connected ends the server if it did not become ready.
func (s *server) connected(kubeconfig string, err error) (*server, error) {
	if err == nil {
		s.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), s.close())
	}
	s.config.QPS = -1
	return s, nil
}

func names(servers []*server) string {
	var all []string
	for _, s := range servers {
		all = append(all, s.name)
	}
	return strings.Join(all, " and ")
}

// cpu is what all processes of the server have used, in seconds: user and system.
func (s *server) cpu() (float64, error) {
	pids, err := s.pids()
	if err != nil {
		return 0, err
	}
	return cpuOf(pids)
}

// cpuOf is what processes have used, in seconds.
func cpuOf(pids []int) (float64, error) {
	total := 0.0
	for _, pid := range pids {
		// See proc_pid_stat(5); ticks are 10 ms.
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return 0, err
			}
			total += ticks / 100
		}
	}
	return total, nil
}
