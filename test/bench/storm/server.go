package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// server is one side.
type server struct {
	name       string
	kubeconfig string
	config     *rest.Config
	// processes are those that live, by name.
	processes func() map[string]int
	close     func() error
}

func startOurs(dir string, flags []string) (*server, error) {
	c, err := harness.Launch(harness.Options{Dir: dir + "/ours", Args: flags})
	if err != nil {
		return nil, err
	}
	if _, err := c.AwaitStatus(harness.StartBound, "phase Ready", harness.IsReady); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s := &server{name: "ours", close: c.Close, processes: func() map[string]int {
		status, _, err := c.Status()
		all := map[string]int{"supervisor": c.PID()}
		if err != nil {
			return all
		}
		all["etcd"] = status.Etcd.PID
		for name, pid := range status.PIDs() {
			all[name] = pid
		}
		return all
	}}
	return s, s.connect(c.Kubeconfig)
}

func startStock(dir string, _ []string) (*server, error) {
	c, err := harness.LaunchStock(dir + "/stock")
	if err != nil {
		return nil, err
	}
	if err := c.AwaitReady(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s := &server{name: "stock", close: c.Close, processes: func() map[string]int {
		return map[string]int{"kube-apiserver": c.PID(), "etcd": c.Etcd.PID()}
	}}
	return s, s.connect(c.Kubeconfig)
}

func (s *server) connect(kubeconfig string) (err error) {
	s.kubeconfig = kubeconfig
	if s.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err == nil {
		s.config.QPS = -1
	}
	return err
}

// kill ends all processes at once.
func (s *server) kill() {
	for _, pid := range s.processes() {
		if pid > 0 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// resident is the resident memory of a process in bytes, 0 if it is gone.
func resident(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(content), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// cpu is what a process has used, user and system, in seconds; 0 if it is gone.
func cpu(pid int) float64 {
	// See proc_pid_stat(5); ticks are 10 ms.
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	total := 0.0
	for _, field := range fields[11:13] {
		ticks, _ := strconv.ParseFloat(field, 64)
		total += ticks / 100
	}
	return total
}
