package faults

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// deadPatience is how long a probe waits for an answer.
const deadPatience = 8 * time.Second

// probe is a request that somebody may rely on while a tier is dead.
type probe struct {
	what string
	as   *rest.Config
	path string
	body string // of a merge patch; empty is a GET
}

// Each tier in turn is dead, its program broken. What is answered meanwhile is what
// docs/explanation/faults.md says, and nothing that exists is not found.
func TestWhatStaysUpWhileATierIsDead(t *testing.T) {
	t.Parallel()
	programs := harness.PrivateBinDir(t)
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(10 * time.Second) })
	c := harness.Run(t, harness.Options{BinDir: programs.Dir, Args: etcd.Flags()})
	s := stage(t, &c.API, kinds, func() error { return nil }, func() string { return "" })
	probes := deadProbes(t, s, c)
	dead := []string{"extensions", "core", "aggregator", "etcd"}
	cells := map[string]string{}
	for _, name := range dead {
		for _, p := range probes {
			harness.Eventually(t, harness.StartBound, p.what+" works", func() error {
				if got := p.ask(); got != works {
					return fmt.Errorf("it is %s", got)
				}
				return nil
			})
		}
		if name == "etcd" {
			etcd.Signal(syscall.SIGKILL)
			<-etcd.Exited()
		} else {
			programs.Break(t, name)
			crash(t, c, name)
			c.WaitStatus(t, harness.StartBound, name+" is dead", func(s harness.Status) bool { return s.Replica(name).Restarts > 0 && s.Replica(name).PID == 0 })
		}
		said := make([]string, len(probes))
		var all sync.WaitGroup // most of them wait
		for i, p := range probes {
			all.Go(func() { said[i] = p.ask() })
		}
		all.Wait()
		for i, p := range probes {
			cells[p.what+name] = said[i]
		}
		if name == "etcd" {
			if err := etcd.Again(); err != nil {
				t.Fatal(err)
			}
		} else {
			programs.Mend(t, name)
		}
		c.WaitReady(t)
	}
	said := &strings.Builder{}
	fmt.Fprintf(said, "| while dead: | %s |\n|---|%s\n", strings.Join(dead, " | "), strings.Repeat("---|", len(dead)))
	for _, p := range probes {
		fmt.Fprintf(said, "| %s |", p.what)
		for _, name := range dead {
			fmt.Fprintf(said, " %s |", cells[p.what+name])
		}
		said.WriteString("\n")
	}
	write := ""
	if *update {
		write = said.String()
	}
	before, err := section("dead", write)
	if err != nil {
		t.Fatal(err)
	}
	if before != said.String() && !*update {
		t.Errorf("docs/explanation/faults.md says otherwise; if this is as it should be, run make faults-dead:\n%s", said)
	}
	if strings.Contains(said.String(), " 4") {
		t.Errorf("what exists is said not to, or what is allowed not to be:\n%s", said)
	}
}

// What a probe may come to.
const (
	works       = "works"
	unavailable = "503, come again"
	fails       = "fails"
)

func (p probe) ask() string {
	ctx, cancel := context.WithTimeout(context.Background(), deadPatience)
	defer cancel()
	method, kind := http.MethodGet, "application/json"
	if p.body != "" {
		method, kind = http.MethodPatch, "application/merge-patch+json"
	}
	got, err := harness.Send(ctx, p.as, method, p.path, p.body, "Content-Type", kind)
	switch {
	case err != nil:
		return fails
	case got.Code == http.StatusOK:
		return works
	case got.Code == http.StatusServiceUnavailable && got.Header.Get("Retry-After") != "":
		return unavailable
	case got.Code >= 500:
		return fails
	default:
		return fmt.Sprint(got.Code) // which is a lie: all of it exists, and all may
	}
}

func deadProbes(t *testing.T, s *Scene, c *harness.Cluster) []probe {
	t.Helper()
	admin := c.Config(t)
	c.Kubectl(t, "create", "serviceaccount", "reader")
	c.Kubectl(t, "create", "clusterrolebinding", "reader", "--clusterrole=cluster-admin", "--serviceaccount=default:reader", "--user=jane")
	token := func() *rest.Config {
		config := c.Anonymous(t)
		config.BearerToken = strings.TrimSpace(c.Kubectl(t, "create", "token", "reader"))
		return config
	}
	jane := c.ConfigFor(t, harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "jane", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))(t))
	one := func(k kind) string { return k.path + "/" + sentinel }
	patch := `{"metadata":{"labels":{"a":"b"}}}`
	byToken := token()
	return []probe{
		{"read of a built-in object", admin, one(kinds[0]), ""},
		{"write of a built-in object", admin, one(kinds[0]), patch},
		{"read of a custom resource", admin, one(kinds[1]), ""},
		{"write of a custom resource", admin, one(kinds[1]), patch},
		{"read of CRDs", admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", ""},
		{"read of an aggregated server's object", admin, one(kinds[2]), ""},
		{"read of APIServices", admin, "/apis/apiregistration.k8s.io/v1/apiservices", ""},
		{"a user with rights of RBAC: custom resource", jane, one(kinds[1]), ""},
		{"a token that was used before: custom resource", byToken, one(kinds[1]), ""},
		{"discovery of all groups", admin, "/apis", ""},
		{"discovery of a custom group", admin, kinds[1].groupPath(), ""},
		{"OpenAPI of built-in objects", admin, "/openapi/v3/api/v1", ""},
		{"/livez", admin, "/livez", ""},
		{"/readyz", admin, "/readyz", ""},
		{"/version", admin, "/version", ""},
	}
}
