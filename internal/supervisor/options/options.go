// Package options is what a user may set for `supervisor run`: by flags, by a
// configuration file, or not at all. It is the only package of the supervisor
// that knows the names of flags, its own and the tiers'.
package options

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// DefaultDataDir is where the supervisor keeps its data unless told otherwise.
const DefaultDataDir = "/var/lib/triptych"

// Options are the settings of a supervisor.
type Options struct {
	DataDir string
	// BindAddress and SecurePort are where clients reach the head; port 0 picks
	// a free one.
	BindAddress net.IP
	SecurePort  int
	// InsecureBindAddress and InsecurePort are of the plain HTTP listener; port
	// 0 means none.
	InsecureBindAddress net.IP
	InsecurePort        int
	// EtcdServers are the URLs of an etcd of the user's own; empty means that
	// the supervisor runs one.
	EtcdServers                           []string
	EtcdCAFile, EtcdCertFile, EtcdKeyFile string
	// ExtensionsEtcd is an etcd of the user's for CRDs and custom resources alone; no
	// servers means that they are with all the rest.
	ExtensionsEtcd wiring.Etcd
	// EtcdQuotaBackendBytes is the size of the supervisor's etcd at which it takes
	// no more writes; 0 is etcd's most, 8 GiB.
	EtcdQuotaBackendBytes int64
	// WithoutAggregator is the direct mode: core is the head.
	WithoutAggregator bool
	// BinDir holds the tiers' programs; empty means beside the supervisor's.
	BinDir string
	// ConfigFile is read by Load.
	ConfigFile string
	// Forwarded are the flags for the tiers.
	Forwarded *Forwarded
	// TierFlags are those for one tier each.
	TierFlags *TierFlags
	// Replicas is how many processes each tier has.
	Replicas *Replicas
	// MemoryLimits are what a process of a tier may take.
	MemoryLimits MemoryLimits

	flags *pflag.FlagSet
}

// New returns the defaults, which are kube-apiserver's where it has the setting.
func New() *Options {
	return &Options{
		DataDir:             DefaultDataDir,
		BindAddress:         net.IPv4zero,
		SecurePort:          6443,
		InsecureBindAddress: net.IPv4(127, 0, 0, 1),
		Forwarded:           &Forwarded{},
		TierFlags:           &TierFlags{},
		Replicas:            &Replicas{},
		MemoryLimits:        MemoryLimits{},
	}
}

// AddFlags adds the supervisor's flags to fs, and hidden behind them every flag
// that a tier knows.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.SetNormalizeFunc(dashes)
	fs.SortFlags = false
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir, "folder of certificates, data, logs and socket")
	fs.IPVar(&o.BindAddress, "bind-address", o.BindAddress, "address that serves clients")
	fs.IntVar(&o.SecurePort, "secure-port", o.SecurePort, "port that serves clients; 0 picks a free one")
	fs.IntVar(&o.InsecurePort, "insecure-port", o.InsecurePort, "plain HTTP port that makes everybody on this machine administrator; 0 is none")
	fs.IPVar(&o.InsecureBindAddress, "insecure-bind-address", o.InsecureBindAddress, "address of the plain HTTP port; loopback only")
	fs.StringSliceVar(&o.EtcdServers, "etcd-servers", o.EtcdServers, "URLs of an etcd of your own; by default the supervisor runs one")
	fs.StringVar(&o.EtcdCAFile, "etcd-cafile", o.EtcdCAFile, "CA of your own etcd")
	fs.StringVar(&o.EtcdCertFile, "etcd-certfile", o.EtcdCertFile, "client certificate for your own etcd")
	fs.StringVar(&o.EtcdKeyFile, "etcd-keyfile", o.EtcdKeyFile, "key of that certificate")
	fs.StringSliceVar(&o.ExtensionsEtcd.Servers, "extensions-etcd-servers", o.ExtensionsEtcd.Servers, "URLs of an etcd for CRDs and custom resources alone")
	fs.StringVar(&o.ExtensionsEtcd.CAFile, "extensions-etcd-cafile", o.ExtensionsEtcd.CAFile, "CA of that etcd")
	fs.StringVar(&o.ExtensionsEtcd.CertFile, "extensions-etcd-certfile", o.ExtensionsEtcd.CertFile, "client certificate for that etcd")
	fs.StringVar(&o.ExtensionsEtcd.KeyFile, "extensions-etcd-keyfile", o.ExtensionsEtcd.KeyFile, "key of that certificate")
	fs.Int64Var(&o.EtcdQuotaBackendBytes, "etcd-quota-backend-bytes", o.EtcdQuotaBackendBytes, "size at which the supervisor's etcd takes no more writes; 0 is 8 GiB")
	fs.BoolVar(&o.WithoutAggregator, "without-aggregator", o.WithoutAggregator, "let core serve clients, without APIServices (as "+directVariable+"=anything)")
	fs.Var(o.Replicas, "replicas", "processes of a tier, such as core=3; one each by default; see supervisor scale")
	fs.StringVar(&o.BinDir, "bin-dir", o.BinDir, "folder of the tiers' programs; by default the supervisor's own")
	fs.Var(o.TierFlags, "tier-flag", "flag for one tier, such as extensions=max-requests-inflight=100; repeatable")
	fs.Var(o.MemoryLimits, "memory-limit", "memory at which a process of a tier is killed, such as extensions=512Mi")
	fs.StringVar(&o.ConfigFile, "config", o.ConfigFile, "file with these settings; flags win over it")
	o.Forwarded.addFlags(fs)
	o.flags = fs
}

// directVariable is the variable by which kube-apiserver once chose its test
// mode without the aggregator. Its value says nothing.
const directVariable = "KUBE_API_VERSIONS"

// Head returns the tier that has the secure port. environ are lines of NAME=value.
func (o *Options) Head(environ []string) tier.Name {
	set := func(line string) bool {
		name, value, _ := strings.Cut(line, "=")
		return name == directVariable && value != ""
	}
	if o.WithoutAggregator || slices.ContainsFunc(environ, set) {
		return tier.Core
	}
	return tier.Aggregator
}

// Load reads the configuration file, if there is one, under what the flags
// said, and checks everything. Errors are the user's to mend.
func (o *Options) Load() error {
	if o.ConfigFile != "" {
		if err := o.readFile(o.ConfigFile); err != nil {
			return fmt.Errorf("cannot use --config %s: %w", o.ConfigFile, err)
		}
	}
	return o.validate()
}

func (o *Options) validate() error {
	return errors.Join(
		checkPort("secure-port", o.SecurePort),
		checkPort("insecure-port", o.InsecurePort),
		o.checkDataDir(),
		o.checkInsecure(),
		o.checkEtcd(),
		CheckEtcd("extensions-etcd", o.ExtensionsEtcd),
		o.checkSSH(),
		o.Forwarded.check(),
		o.checkTierFlags(),
		o.checkReplicas(),
		o.checkMemoryLimits(),
	)
}

func (o *Options) checkDataDir() error {
	if o.DataDir == "" {
		return errors.New("--data-dir must name a directory")
	}
	return nil
}

func checkPort(flag string, port int) error {
	if port < 0 || port > 65535 {
		return fmt.Errorf("--%s=%d is no port: want 0 to 65535", flag, port)
	}
	return nil
}

// checkInsecure refuses what would hand the cluster to the network: whoever
// reaches the insecure port is its administrator.
func (o *Options) checkInsecure() error {
	if !o.InsecureBindAddress.IsLoopback() {
		return fmt.Errorf("--insecure-bind-address=%s is not loopback: whoever reaches that port is an administrator, so give 127.0.0.1 or ::1", o.InsecureBindAddress)
	}
	return nil
}

func (o *Options) checkEtcd() error {
	if quota := o.EtcdQuotaBackendBytes; quota < 0 {
		return fmt.Errorf("--etcd-quota-backend-bytes=%d is no size: want bytes, or 0 for 8 GiB", quota)
	} else if quota > 0 && len(o.EtcdServers) > 0 {
		return errors.New("--etcd-quota-backend-bytes is for the etcd that the supervisor runs: give yours its own --quota-backend-bytes")
	}
	return CheckEtcd("etcd", wiring.Etcd{Servers: o.EtcdServers, CAFile: o.EtcdCAFile, CertFile: o.EtcdCertFile, KeyFile: o.EtcdKeyFile})
}

// CheckEtcd refuses what cannot be an etcd of the user's. Its flags begin with prefix.
// No servers are fine, if nothing else is given.
func CheckEtcd(prefix string, e wiring.Etcd) error {
	if len(e.Servers) == 0 {
		if e.CAFile+e.CertFile+e.KeyFile != "" {
			return fmt.Errorf("--%[1]s-cafile, --%[1]s-certfile and --%[1]s-keyfile are for an etcd of your own: give its --%[1]s-servers too", prefix)
		}
		return nil
	}
	var errs []error
	for _, server := range e.Servers {
		u, err := url.Parse(server)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			errs = append(errs, fmt.Errorf("--%s-servers: %q is no URL: want https://HOST:PORT", prefix, server))
		}
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		errs = append(errs, fmt.Errorf("--%[1]s-certfile and --%[1]s-keyfile belong together: give both or none", prefix))
	}
	for _, file := range [][2]string{{"cafile", e.CAFile}, {"certfile", e.CertFile}, {"keyfile", e.KeyFile}} {
		errs = append(errs, checkReadable(prefix+"-"+file[0], file[1]))
	}
	return errors.Join(errs...)
}

func checkReadable(flag, path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	return f.Close()
}
