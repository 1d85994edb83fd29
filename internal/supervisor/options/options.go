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
	"time"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/sandbox"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// DefaultDataDir is where the supervisor keeps its data unless told otherwise.
const DefaultDataDir = "/var/lib/triptych"

// Options are the settings of a supervisor.
type Options struct {
	DataDir string
	// PKIFrom is a folder of what all hosts of the cluster have in common; empty means that
	// what is missing is made.
	PKIFrom string
	// BindAddress and SecurePort are where clients reach the head; port 0 picks
	// a free one.
	BindAddress net.IP
	SecurePort  int
	// InsecureBindAddress and InsecurePort are of the plain HTTP listener; port
	// 0 means none.
	InsecureBindAddress net.IP
	InsecurePort        int
	// MetricsBindAddress is the HOST:PORT of the supervisor's own metrics; empty means none. MetricsTokenFile holds the bearer
	// token that opens it beside client certificates.
	MetricsBindAddress, MetricsTokenFile string
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
	// ConfigFile and ConfigDir are read by Load: see Sources.
	ConfigFile, ConfigDir string
	// Forwarded are the flags for the tiers.
	Forwarded *Forwarded
	// TierFlags are those for one tier each.
	TierFlags *TierFlags
	// Replicas is how many processes each tier has.
	Replicas Replicas
	// MemoryLimits are what a process of a tier may take.
	MemoryLimits MemoryLimits
	// CPULimits are how much of the CPUs a process of a tier may take.
	CPULimits CPULimits
	// HopTransport is what carries requests from tier to tier on this host.
	HopTransport HopTransport
	// PidsLimits are how many threads a process of a tier may have.
	PidsLimits PidsLimits
	// UserRange and TierUsers say who the processes are: see Apart.
	UserRange UserRange
	TierUsers TierUsers
	// Sandbox is what is done about what a process has no need of.
	Sandbox sandbox.Mode
	// Tiers are those that run here, all of them unless told otherwise. TierListen is
	// where they listen for other hosts, TierAt where tiers are on other hosts.
	Tiers      Tiers
	TierListen TierListen
	TierAt     TierAt
	// CertValidity is how long certificates that processes show to one another and to the supervisor's etcd are good for. They
	// are replaced when a third of it is left.
	CertValidity time.Duration
	// Snapshots are those taken by schedule.
	Snapshots Snapshots

	flags *pflag.FlagSet
	// file is what the files say, origins by setting which of them does, and given what
	// the command line says, by flag. All are empty before Load.
	file    *File
	origins map[string]string
	given   map[string]bool
	// bare: there is nothing to them but file.
	bare bool
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
		Replicas:            Replicas{},
		MemoryLimits:        MemoryLimits{},
		CPULimits:           CPULimits{},
		HopTransport:        TCP,
		PidsLimits:          PidsLimits{},
		TierUsers:           TierUsers{},
		Sandbox:             sandbox.Enforce,
		TierListen:          TierListen{},
		TierAt:              TierAt{},
		CertValidity:        pki.DefaultValidity,
		Snapshots:           Snapshots{Keep: defaultKeep},
	}
}

// AddFlags adds the supervisor's flags to fs, and hidden behind them every flag
// that a tier knows.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.SetNormalizeFunc(dashes)
	fs.SortFlags = false
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir, "folder of certificates, data, logs and socket")
	fs.StringVar(&o.PKIFrom, "pki-from", o.PKIFrom, "folder to take the CAs and keys that all hosts share from")
	fs.IPVar(&o.BindAddress, "bind-address", o.BindAddress, "address that serves clients")
	fs.IntVar(&o.SecurePort, "secure-port", o.SecurePort, "port that serves clients; 0 picks a free one")
	fs.IntVar(&o.InsecurePort, "insecure-port", o.InsecurePort, "plain HTTP port that makes everybody on this machine administrator; 0 is none")
	fs.IPVar(&o.InsecureBindAddress, "insecure-bind-address", o.InsecureBindAddress, "address of the plain HTTP port; loopback only")
	fs.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress, "HOST:PORT of the supervisor's own metrics, by HTTPS; none by default")
	fs.StringVar(&o.MetricsTokenFile, "metrics-token-file", o.MetricsTokenFile, "bearer token for them, beside certificates of administrators")
	fs.StringSliceVar(&o.EtcdServers, "etcd-servers", o.EtcdServers, "URLs of an etcd of your own; by default the supervisor runs one")
	fs.StringVar(&o.EtcdCAFile, "etcd-cafile", o.EtcdCAFile, "CA of your own etcd")
	fs.StringVar(&o.EtcdCertFile, "etcd-certfile", o.EtcdCertFile, "client certificate for your own etcd")
	fs.StringVar(&o.EtcdKeyFile, "etcd-keyfile", o.EtcdKeyFile, "key of that certificate")
	fs.StringSliceVar(&o.ExtensionsEtcd.Servers, "extensions-etcd-servers", o.ExtensionsEtcd.Servers, "URLs of an etcd for CRDs and custom resources alone")
	fs.StringVar(&o.ExtensionsEtcd.CAFile, "extensions-etcd-cafile", o.ExtensionsEtcd.CAFile, "CA of that etcd")
	fs.StringVar(&o.ExtensionsEtcd.CertFile, "extensions-etcd-certfile", o.ExtensionsEtcd.CertFile, "client certificate for that etcd")
	fs.StringVar(&o.ExtensionsEtcd.KeyFile, "extensions-etcd-keyfile", o.ExtensionsEtcd.KeyFile, "key of that certificate")
	fs.Int64Var(&o.EtcdQuotaBackendBytes, "etcd-quota-backend-bytes", o.EtcdQuotaBackendBytes, "size at which the supervisor's etcd takes no more writes; 0 is 8 GiB")
	o.Snapshots.addFlags(fs)
	fs.BoolVar(&o.WithoutAggregator, "without-aggregator", o.WithoutAggregator, "let core serve clients, without APIServices (as "+directVariable+"=anything)")
	fs.Var(o.Replicas, "replicas", "processes of a tier, such as core=3; one each by default; see supervisor scale")
	fs.Var(&o.Tiers, "tiers", "tiers that run on this host, such as aggregator,core; all by default")
	fs.Var(o.TierListen, "tier-listen", "where a tier listens for other hosts, such as core=10.0.0.1:7020")
	fs.Var(o.TierAt, "tier-at", "where a tier is on another host, such as extensions=10.0.0.2:7010; repeatable")
	fs.StringVar(&o.BinDir, "bin-dir", o.BinDir, "folder of the tiers' programs; by default the supervisor's own")
	fs.Var(o.TierFlags, "tier-flag", "flag for one tier, such as extensions=max-requests-inflight=100; repeatable")
	fs.Var(o.MemoryLimits, "memory-limit", "memory at which a process of a tier is killed, such as extensions=512Mi")
	fs.Var(o.CPULimits, "cpu-limit", "CPUs that a process of a tier may take, by a cgroup, such as extensions=0.5")
	fs.Var(&o.HopTransport, "hop-transport", "what carries requests between tiers: unix is faster")
	fs.Var(o.PidsLimits, "pids-limit", fmt.Sprintf("threads that a process of a tier may have, such as core=4096; %d by default", DefaultPids))
	fs.Var(&o.UserRange, "user-range", fmt.Sprintf("ids for a user of each process, as root: %s unless given, or %s", &defaultUsers, usersOff))
	fs.Var(o.TierUsers, "tier-user", "users that exist, for all processes, in place of a range")
	fs.Var(&o.Sandbox, "sandbox", "enforce, log or off: what a process has no need of")
	fs.DurationVar(&o.CertValidity, "internal-cert-validity", o.CertValidity, "life of certificates between processes; replaced in time")
	fs.StringVar(&o.ConfigFile, "config", o.ConfigFile, "file with these settings, and FILE.d/*.yaml; flags win over them")
	fs.StringVar(&o.ConfigDir, "config-dir", o.ConfigDir, "folder of such files; the later in the order of names win")
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

// Parse is what `supervisor run` makes of its command line, without Load.
func Parse(args []string) (*Options, error) {
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		return nil, Explain(fs, err)
	}
	return o, nil
}

// Load reads the configuration files, if there are any, under what the flags
// said, and checks everything. Errors are the user's to mend.
func (o *Options) Load() error {
	if err := o.readFiles(); err != nil {
		return err
	}
	return o.validate()
}

func (o *Options) validate() error {
	return errors.Join(
		checkPort("secure-port", o.SecurePort),
		checkPort("insecure-port", o.InsecurePort),
		o.checkDataDir(),
		o.checkInsecure(),
		o.checkMetrics(),
		o.checkEtcd(),
		CheckEtcd("extensions-etcd", o.ExtensionsEtcd),
		o.checkSSH(),
		o.checkValidity(),
		o.checkIsolation(),
		o.Snapshots.check(),
		o.Forwarded.check(),
		o.checkLeftOut(),
		o.CheckHosts(o.Head(nil)),
	)
}

func (o *Options) checkDataDir() error {
	if o.DataDir == "" {
		return errors.New("--data-dir must name a directory")
	}
	return nil
}

func (o *Options) checkValidity() error {
	if o.CertValidity < pki.MinValidity || o.CertValidity > maxValidity {
		return fmt.Errorf("--internal-cert-validity=%s is no time to replace certificates in: want %s to %s", o.CertValidity, pki.MinValidity, maxValidity)
	}
	return nil
}

// maxValidity is what certificates that people replace are good for.
const maxValidity = 365 * 24 * time.Hour

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

func (o *Options) checkMetrics() error {
	if o.MetricsBindAddress == "" {
		if o.MetricsTokenFile != "" {
			return errors.New("--metrics-token-file is for --metrics-bind-address: give that too")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(o.MetricsBindAddress)
	if err != nil || net.ParseIP(host) == nil || port == "" {
		return fmt.Errorf("--metrics-bind-address=%s is no IP:PORT, such as 127.0.0.1:6444", o.MetricsBindAddress)
	}
	return checkReadable("metrics-token-file", o.MetricsTokenFile)
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
