package deploy

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// What the units for one tier each start, with the examples of their configuration as they
// are but for addresses and folders, is one API.
func TestUnitsOfOneTierEachAreOneAPI(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	shared := sharedPKI(t)
	start := setting(read(t, deployed("systemd", "triptych@.service")), "ExecStart")[0]
	here := strings.NewReplacer(
		"https://127.0.0.1:2379", etcd.URL,
		"/etc/triptych/etcd/ca.crt", etcd.CAFile, "/etc/triptych/etcd/client.crt", etcd.CertFile, "/etc/triptych/etcd/client.key", etcd.KeyFile,
		"securePort: 6443", fmt.Sprintf("securePort: %d", harness.Must(harness.FreePort())(t)),
		"127.0.0.1:7", fmt.Sprintf("127.99.%d.1:7", os.Getpid()%250))
	hosts := map[tier.Name]*harness.Cluster{}
	for _, name := range tier.Order {
		config := filepath.Join(harness.TempDir(t), "tier.yaml")
		harness.WriteFile(t, config, []byte(here.Replace(read(t, deployed("systemd", "tiers", string(name)+".yaml")))), 0o600)
		unit := strings.NewReplacer("%i", string(name), "/etc/triptych/pki", shared, "/etc/triptych/%i.yaml", config)
		args := strings.Fields(unit.Replace(strings.ReplaceAll(start, "/etc/triptych/%i.yaml", config)))[2:]
		i := slices.Index(args, "--data-dir") // the harness gives another, and a port of its own unless there is one
		args = append(slices.Delete(args, i, i+2), "--secure-port="+port(t, config))
		hosts[name] = harness.Begin(t, harness.Options{Args: args})
	}
	for _, host := range hosts {
		host.WaitReady(t)
	}
	head := hosts[tier.Aggregator]
	head.Kubectl(t, "create", "configmap", "one")
	head.Kubectl(t, "get", "customresourcedefinitions")
	for name, host := range hosts {
		for of, pid := range host.WaitReady(t).PIDs() {
			if (of == string(name)) != (pid != 0) {
				t.Errorf("of %s the unit of %s runs process %d", of, name, pid)
			}
		}
	}
}

// sharedPKI is a folder of what all hosts have in common, as an administrator would copy it.
func sharedPKI(t *testing.T) string {
	t.Helper()
	h := harness.Must(datadir.Open(filepath.Join(harness.TempDir(t), "d")))(t)
	defer h.Close()
	harness.Must(pki.Ensure(pki.Options{Dir: h.Dir, ServiceIPs: []net.IP{net.IPv4(10, 0, 0, 1)}}))(t)
	return h.PKI()
}

// port is the securePort of a configuration file.
func port(t *testing.T, config string) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, config), "securePort: ")
	number, _, _ := strings.Cut(rest, "\n")
	return number
}
