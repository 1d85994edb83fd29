package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
)

// parse is what `supervisor run` does with its command line.
func parse(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	o := New()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, Explain(fs, err)
	}
	return o, o.Load()
}

func mustParse(t *testing.T, args ...string) *Options {
	t.Helper()
	o, err := parse(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func arguments(o *Options, name tier.Name) []string {
	return o.Arguments(name, Given{
		Head:   tier.Aggregator,
		Wiring: "/d/run/wiring.json", EtcdServers: []string{"https://127.0.0.1:1", "https://127.0.0.1:2"}, EtcdCA: "/d/ca.crt",
		PKI: pki.Paths{Dir: datadir.Dir{Root: "/d"}}, Advertise: "192.0.2.1",
	})
}

func wantArgument(t *testing.T, args []string, want string, there bool) {
	t.Helper()
	if slices.Contains(args, want) != there {
		t.Errorf("%s: want %v in %q", want, there, args)
	}
}

func TestTiersAreGivenTheirOwnFlagsOnly(t *testing.T) {
	o := mustParse(t)
	for want, tiers := range map[string][]tier.Name{
		"--wiring=/d/run/wiring.json":                              tier.Order,
		"--etcd-servers=https://127.0.0.1:1,https://127.0.0.1:2":   tier.Order,
		"--etcd-cafile=/d/ca.crt":                                  tier.Order,
		"--authorization-mode=Node,RBAC":                           tier.Order,
		"--shutdown-watch-termination-grace-period=10s":            tier.Order,
		"--advertise-address=192.0.2.1":                            {tier.Core},
		"--service-cluster-ip-range=10.96.0.0/16":                  {tier.Core},
		"--service-account-signing-key-file=/d/pki/sa.key":         {tier.Core},
		"--kubelet-client-key=/d/pki/apiserver-kubelet-client.key": {tier.Core},
		"--client-ca-file=/d/pki/ca.crt":                           {tier.Core, tier.Aggregator},
		"--requestheader-client-ca-file=/d/pki/front-proxy-ca.crt": {tier.Core, tier.Aggregator},
		"--tls-private-key-file=/d/pki/apiserver.key":              {tier.Aggregator},
		"--proxy-client-key-file=/d/pki/front-proxy-client.key":    {tier.Aggregator},
	} {
		for _, name := range tier.Order {
			wantArgument(t, arguments(o, name), want, slices.Contains(tiers, name))
		}
	}
	// Where nodes are reached by SSH, the key is core's alone, and all know of it.
	known := filepath.Join(t.TempDir(), "known")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ssh := mustParse(t, "--ssh-user=ops", "--ssh-known-hosts="+known)
	for _, name := range tier.Order {
		args := ssh.Arguments(name, Given{Head: tier.Aggregator, SSHKey: "/d/pki/ssh.key"})
		wantArgument(t, args, "--ssh-user=ops", true)
		wantArgument(t, args, "--ssh-keyfile=/d/pki/ssh.key", name == tier.Core)
		wantArgument(t, args, "--ssh-known-hosts="+known, name == tier.Core)
	}
	// etcd without TLS leaves no empty flags behind.
	for _, arg := range arguments(o, tier.Core) {
		if strings.HasSuffix(arg, "=") {
			t.Errorf("%s is empty", arg)
		}
	}
}

func TestTheUsersFlagsWinOverOurs(t *testing.T) {
	o := mustParse(t, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=false",
		"--feature-gates=A=true", "--feature-gates=B=true", "--v=4", "--profiling", "--shutdown-delay-duration=5s")
	core := arguments(o, tier.Core)
	for arg, there := range map[string]bool{
		"--authorization-mode=Node,RBAC":          false,
		"--authorization-mode=RBAC":               true,
		"--service-cluster-ip-range=10.96.0.0/16": false,
		"--service-cluster-ip-range=10.0.0.0/24":  true,
		"--allow-privileged=true":                 false,
		"--allow-privileged=false":                true,
		"--feature-gates=A=true":                  true,
		"--feature-gates=B=true":                  true,
		"--v=4":                                   true,
		"--profiling=true":                        true,
		"--shutdown-delay-duration=5s":            false, // the head's alone
	} {
		wantArgument(t, core, arg, there)
	}
	wantArgument(t, arguments(o, tier.Extensions), "--service-cluster-ip-range=10.0.0.0/24", false)
	wantArgument(t, arguments(o, tier.Aggregator), "--shutdown-delay-duration=5s", true)
}

func TestFlagsThatExcludeOurs(t *testing.T) {
	o := mustParse(t, "--authorization-config=/f", "--service-account-signing-endpoint=/s")
	for _, arg := range arguments(o, tier.Core) {
		for _, excluded := range []string{"--authorization-mode", "--service-account-signing-key-file", "--service-account-key-file"} {
			if strings.HasPrefix(arg, excluded+"=") {
				t.Errorf("%s is given beside what excludes it", arg)
			}
		}
	}
}

func TestTheInsecurePortIsOffAndOnLoopbackAlone(t *testing.T) {
	if o := mustParse(t); o.InsecurePort != 0 || !o.InsecureBindAddress.IsLoopback() {
		t.Errorf("by default %s:%d", o.InsecureBindAddress, o.InsecurePort)
	}
	for _, address := range []string{"127.0.0.1", "127.9.9.9", "::1"} {
		mustParse(t, "--insecure-port=8080", "--insecure-bind-address="+address)
	}
	for _, address := range []string{"0.0.0.0", "::", "192.0.2.1", "169.254.0.1", "::ffff:10.0.0.1"} {
		for _, port := range []string{"0", "8080"} {
			_, err := parse(t, "--insecure-port="+port, "--insecure-bind-address="+address)
			if err == nil || !strings.Contains(err.Error(), "--insecure-bind-address") {
				t.Errorf("%s, port %s: %v", address, port, err)
			}
		}
	}
	if _, err := parse(t, "--insecure-port=-1"); err == nil {
		t.Error("a negative port was taken")
	}
}

func TestReservedFlagsAreUnknown(t *testing.T) {
	for _, arg := range []string{"--wiring=/f", "--no-such-flag"} {
		if _, err := parse(t, arg); err == nil || !strings.Contains(err.Error(), "unknown flag") {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestDurationsAndBooleansOfTheTiers(t *testing.T) {
	f := mustParse(t, "--request-timeout=5s", "--permit-port-sharing").Forwarded
	if got := f.Duration("request-timeout", time.Minute); got != 5*time.Second {
		t.Error(got)
	}
	if got := f.Duration("shutdown-delay-duration", time.Minute); got != time.Minute {
		t.Error(got)
	}
	if !f.True("permit-port-sharing") || f.True("permit-address-sharing") {
		t.Errorf("%+v", f)
	}
}

const head = "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\n"

func parseWithFile(t *testing.T, content string, args ...string) (*Options, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return parse(t, append(args, "--config", path)...)
}

func TestTheFileSetsEverythingAndFlagsWin(t *testing.T) {
	o, err := parseWithFile(t, head+`
dataDir: /data
bindAddress: 127.0.0.1
securePort: 0
insecurePort: 8081
insecureBindAddress: 127.0.0.2
etcdServers: [https://10.0.0.1:2379, https://10.0.0.2:2379]
etcdCAFile: /dev/null
etcdCertFile: /dev/null
etcdKeyFile: /dev/null
extensionsEtcdServers: [https://10.0.0.3:2379]
extensionsEtcdCAFile: /dev/null
extensionsEtcdCertFile: /dev/null
extensionsEtcdKeyFile: /dev/null
binDir: /bin
flags:
  v: 2
  vmodule: a=1
  max-requests-inflight: 1000000
  profiling: false
  feature-gates: [A=true, B=true]
`, "--vmodule=b=2", "--bin-dir=/usr/bin")
	if err != nil {
		t.Fatal(err)
	}
	if o.DataDir != "/data" || o.BindAddress.String() != "127.0.0.1" || o.SecurePort != 0 || o.InsecurePort != 8081 || o.InsecureBindAddress.String() != "127.0.0.2" ||
		len(o.EtcdServers) != 2 || o.EtcdCAFile+o.EtcdCertFile+o.EtcdKeyFile != "/dev/null/dev/null/dev/null" {
		t.Errorf("%+v", o)
	}
	if e := o.ExtensionsEtcd; len(e.Servers) != 1 || e.CAFile+e.CertFile+e.KeyFile != "/dev/null/dev/null/dev/null" {
		t.Errorf("%+v", e)
	}
	if o.BinDir != "/usr/bin" {
		t.Errorf("the file won over --bin-dir: %s", o.BinDir)
	}
	core := arguments(o, tier.Core)
	for _, want := range []string{"--v=2", "--vmodule=b=2", "--max-requests-inflight=1000000", "--profiling=false", "--feature-gates=B=true"} {
		wantArgument(t, core, want, true)
	}
	wantArgument(t, core, "--vmodule=a=1", false)
}

func TestMistakesInTheFile(t *testing.T) {
	for content, says := range map[string]string{
		"":                                     "want apiVersion",
		"apiVersion: v1\nkind: ConfigMap\n":    `"ConfigMap" of "v1"`,
		head + "securePrt: 1":                  "securePrt",
		head + "securePort: 1\nsecurePort: 2":  "already set",
		head + "securePort: x":                 "securePort",
		head + "bindAddress: here":             "bind-address",
		head + "flags: {feature-gate: A=true}": "did you mean --feature-gates?",
		head + "flags: {secure-port: 1}":       "--secure-port is the supervisor's own",
		head + "flags: {v: {}}":                "no value of a flag",
		head + "securePort: 70000":             "--secure-port=70000",
		head + "flags: {help: true}":           "--help",
		"not: [yaml":                           "yaml",
	} {
		if _, err := parseWithFile(t, content); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", content, err, says)
		}
	}
}

func TestCoreIsTheHeadWhenAskedFor(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		want          tier.Name
	}{
		{nil, nil, tier.Aggregator},
		{nil, []string{"KUBE_API_VERSIONS=", "KUBE_API_VERSIONS_X=v1", "PATH=KUBE_API_VERSIONS=v1"}, tier.Aggregator},
		{nil, []string{"KUBE_API_VERSIONS=v1"}, tier.Core},
		{[]string{"--without-aggregator"}, nil, tier.Core},
		{[]string{"--without-aggregator=false"}, []string{"KUBE_API_VERSIONS=apps/v1"}, tier.Core},
	} {
		if got := mustParse(t, c.args...).Head(c.environ); got != c.want {
			t.Errorf("%v with %v: the head is %s, want %s", c.args, c.environ, got, c.want)
		}
	}
}

// In direct mode core has the secure port, and nobody the proxy's key.
func TestTheHeadIsGivenWhatTheSecurePortNeeds(t *testing.T) {
	o := mustParse(t, "--shutdown-delay-duration=3s")
	g := Given{Head: tier.Core, PKI: pki.Paths{Dir: datadir.Dir{Root: "/d"}}}
	core, extensions := o.Arguments(tier.Core, g), o.Arguments(tier.Extensions, g)
	for _, flag := range []string{"--tls-cert-file=", "--tls-private-key-file=", "--shutdown-delay-duration=3s"} {
		has := func(args []string) bool {
			return slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, flag) })
		}
		if !has(core) || has(extensions) {
			t.Errorf("%s: core has it: %v, extensions: %v", flag, has(core), has(extensions))
		}
	}
	for _, arg := range append(core, extensions...) {
		if strings.HasPrefix(arg, "--proxy-client") {
			t.Errorf("somebody is given %s", arg)
		}
	}
}

// A host that joins is told of both etcds, and brings their files along.
func TestBothEtcdsAreShared(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := mustParse(t, "--etcd-servers=https://10.0.0.1:2379", "--extensions-etcd-servers=https://10.0.0.2:2379", "--extensions-etcd-cafile="+ca)
	config, files, err := o.Shared("/there")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFile(config)
	if err != nil || len(f.ExtensionsEtcdServers) != 1 || f.ExtensionsEtcdCAFile == nil || len(files) != 1 || *f.ExtensionsEtcdCAFile != "/there/"+files[0].Name {
		t.Errorf("%s %+v %v", config, files, err)
	}
}
