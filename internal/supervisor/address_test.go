package supervisor

import (
	"net"
	"testing"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

func optionsOf(t *testing.T, args ...string) *options.Options {
	t.Helper()
	o := options.New()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestServerURLIsReachedFromThisMachine(t *testing.T) {
	for bind, want := range map[string]string{
		"0.0.0.0":   "https://127.0.0.1:6443",
		"::":        "https://[::1]:6443",
		"127.0.0.2": "https://127.0.0.2:6443",
		"192.0.2.1": "https://192.0.2.1:6443",
	} {
		if got := serverURL(optionsOf(t, "--bind-address="+bind), 6443); got != want {
			t.Errorf("%s: %s, want %s", bind, got, want)
		}
	}
}

func TestAdvertisedAddress(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string // empty is an error
	}{
		{[]string{"--advertise-address=192.0.2.7", "--bind-address=192.0.2.1"}, "192.0.2.7"},
		{[]string{"--bind-address=192.0.2.1"}, "192.0.2.1"},
		{[]string{"--advertise-address=127.0.0.1"}, ""},
		{[]string{"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"}, "127.0.0.1"},
		{[]string{"--advertise-address=here"}, ""},
	} {
		ip, err := advertised(optionsOf(t, c.args...), tier.Order, tier.Aggregator)
		if (err != nil) != (c.want == "") || (err == nil && !ip.Equal(net.ParseIP(c.want))) {
			t.Errorf("%v: %s, %v", c.args, ip, err)
		}
	}
}

func TestServiceIPsAreTheFirstOfEachRange(t *testing.T) {
	for _, c := range []struct{ flag, v4, v6 string }{
		{"10.96.0.0/16", "10.96.0.1", ""},
		{"10.0.0.77/24,fd00::/108", "10.0.0.1", "fd00::1"},
	} {
		ips := serviceIPs(optionsOf(t, "--service-cluster-ip-range="+c.flag))
		if !ips[0].Equal(net.ParseIP(c.v4)) || (c.v6 != "" && !ips[1].Equal(net.ParseIP(c.v6))) {
			t.Errorf("%s: %v", c.flag, ips)
		}
	}
	if ips := serviceIPs(optionsOf(t, "--service-cluster-ip-range=nowhere")); len(ips) != 0 {
		t.Errorf("%v", ips)
	}
}
