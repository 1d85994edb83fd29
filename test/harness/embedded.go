package harness

import (
	"strings"
	"testing"
)

// EtcdAs is the supervisor's own etcd as the holder of a certificate of its CA, such as
// etcd/core-client, sees it.
func (c *Cluster) EtcdAs(t testing.TB, certificate string) *Etcd {
	t.Helper()
	status, _, err := c.Status()
	if err != nil || status.Etcd.PID == 0 {
		t.Fatalf("no etcd of the supervisor's: %+v %v", status.Etcd, err)
	}
	args := ArgsOf(status.Etcd.PID)
	for _, argument := range args {
		if address, ok := strings.CutPrefix(argument, "--client-address="); ok {
			return &Etcd{
				URL: "https://" + address, CAFile: c.Path("pki", "etcd", "ca.crt"),
				CertFile: c.Path("pki", certificate+".crt"), KeyFile: c.Path("pki", certificate+".key"),
			}
		}
	}
	t.Fatalf("the etcd has no address: %q", args)
	return nil
}
