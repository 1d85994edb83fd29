package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// server is one of the two.
type server struct {
	name   string
	config *rest.Config
	// token is that of a service account that may do everything.
	token string
	// pids are all of its processes but etcd.
	pids  func() ([]int, error)
	close func() error
	// made is how many objects were created, gone how many of them were deleted again.
	made, gone int64
}

// start starts both and waits until they are ready.
func start(dir string) (ours, stock *server, err error) {
	c, err := harness.Launch(harness.Options{Dir: dir + "/ours"})
	if err != nil {
		return nil, nil, err
	}
	s, err := harness.LaunchStock(dir + "/stock")
	if err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	both := func() error { return errors.Join(c.Close(), s.Close()) }
	if _, err := c.AwaitStatus(harness.StartBound, "phase Ready", harness.IsReady); err != nil {
		return nil, nil, errors.Join(err, both())
	}
	if err := s.AwaitReady(); err != nil {
		return nil, nil, errors.Join(err, both())
	}
	ours = &server{name: "ours", close: c.Close, pids: func() ([]int, error) {
		status, _, err := c.Status()
		pids := []int{c.PID()}
		for _, pid := range status.PIDs() {
			pids = append(pids, pid)
		}
		return pids, err
	}}
	stock = &server{name: "stock", close: s.Close, pids: func() ([]int, error) { return []int{s.PID()}, nil }}
	if ours.config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err == nil {
		stock.config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	}
	if err != nil {
		return nil, nil, errors.Join(err, both())
	}
	ours.config.QPS, stock.config.QPS = -1, -1
	return ours, stock, nil
}

// cpu is what all processes of the server have used, in seconds: user and system.
func (s *server) cpu() (float64, error) {
	pids, err := s.pids()
	if err != nil {
		return 0, err
	}
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

const (
	space   = "bench"
	configs = "/api/v1/namespaces/" + space + "/configmaps"
	secrets = "/api/v1/namespaces/" + space + "/secrets"
	group   = "bench.example.com"
	gadgets = "/apis/" + group + "/v1/namespaces/" + space + "/gadgets"
	listed  = 500
)

// prepare makes what the workloads read: in two namespaces, so that lists stay as
// long as they are.
func (s *server) prepare() error {
	ctx := context.Background()
	post := func(path, body string) error {
		answer, err := harness.Send(ctx, s.config, http.MethodPost, path, body, "Content-Type", "application/json")
		if err == nil && answer.Code != http.StatusCreated {
			err = fmt.Errorf("POST %s: %s", path, answer)
		}
		return err
	}
	for _, name := range []string{space, space + "-lists"} {
		if err := post("/api/v1/namespaces", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+name+`"}}`); err != nil {
			return err
		}
	}
	if err := post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd); err != nil {
		return err
	}
	if err := harness.Await(ctx, time.Minute, "gadgets are served", func() error {
		answer, err := harness.Send(ctx, s.config, http.MethodGet, gadgets, "")
		if err == nil && answer.Code != http.StatusOK {
			err = fmt.Errorf("%s", answer)
		}
		return err
	}); err != nil {
		return err
	}
	lists := strings.NewReplacer("/"+space+"/", "/"+space+"-lists/")
	if err := errors.Join(post(configs, configMap("one")), post(gadgets, gadget("one"))); err != nil {
		return err
	}
	for i := range listed {
		name := fmt.Sprintf("of-many-%d", i)
		if err := errors.Join(post(lists.Replace(configs), configMap(name)), post(lists.Replace(gadgets), gadget(name))); err != nil {
			return err
		}
	}
	return s.serviceAccount(ctx, post)
}

func (s *server) serviceAccount(ctx context.Context, post func(path, body string) error) error {
	err := errors.Join(
		post("/api/v1/namespaces/"+space+"/serviceaccounts", `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bench"}}`),
		post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": "`+space+`"}]}`))
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return err
	}
	token, err := clients.CoreV1().ServiceAccounts(space).CreateToken(ctx, "bench", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err == nil {
		s.token = token.Status.Token
	}
	return err
}

// filler makes objects of about 1 kB.
var filler = strings.Repeat("x", 700)

func configMap(name string) string {
	return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"}, "data": {"filler": "` + filler + `"}}`
}

func gadget(name string) string {
	return `{"apiVersion": "` + group + `/v1", "kind": "Gadget", "metadata": {"name": "` + name + `"}, "spec": {"size": 1, "filler": "` + filler + `"}}`
}

const crd = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.` + group + `"}, "spec": {"group": "` + group + `", "scope": "Namespaced",
"names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
"properties": {"size": {"type": "integer"}, "filler": {"type": "string"}}}}}}}]}}`
