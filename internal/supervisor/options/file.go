package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/tier"
)

const (
	// APIVersion and Kind are what a configuration file calls itself.
	APIVersion = "supervisor.triptych.dev/v1alpha1"
	Kind       = "SupervisorConfiguration"
)

// File is the configuration file: the settings of the flags, by their names in
// camel case. What is left out keeps its default.
type File struct {
	APIVersion             string   `json:"apiVersion"`
	Kind                   string   `json:"kind"`
	DataDir                *string  `json:"dataDir,omitempty"`
	PKIFrom                *string  `json:"pkiFrom,omitempty"`
	BindAddress            *string  `json:"bindAddress,omitempty"`
	SecurePort             *int     `json:"securePort,omitempty"`
	InsecurePort           *int     `json:"insecurePort,omitempty"`
	InsecureBindAddress    *string  `json:"insecureBindAddress,omitempty"`
	MetricsBindAddress     *string  `json:"metricsBindAddress,omitempty"`
	MetricsTokenFile       *string  `json:"metricsTokenFile,omitempty"`
	EtcdServers            []string `json:"etcdServers,omitempty"`
	EtcdCAFile             *string  `json:"etcdCAFile,omitempty"`
	EtcdCertFile           *string  `json:"etcdCertFile,omitempty"`
	EtcdKeyFile            *string  `json:"etcdKeyFile,omitempty"`
	ExtensionsEtcdServers  []string `json:"extensionsEtcdServers,omitempty"`
	ExtensionsEtcdCAFile   *string  `json:"extensionsEtcdCAFile,omitempty"`
	ExtensionsEtcdCertFile *string  `json:"extensionsEtcdCertFile,omitempty"`
	ExtensionsEtcdKeyFile  *string  `json:"extensionsEtcdKeyFile,omitempty"`
	EtcdQuotaBackendBytes  *int64   `json:"etcdQuotaBackendBytes,omitempty"`
	SnapshotSchedule       *string  `json:"snapshotSchedule,omitempty"`
	SnapshotKeep           *int     `json:"snapshotKeep,omitempty"`
	SnapshotDir            *string  `json:"snapshotDir,omitempty"`
	SnapshotRecipients     *string  `json:"snapshotRecipients,omitempty"`
	WithoutAggregator      *bool    `json:"withoutAggregator,omitempty"`
	BinDir                 *string  `json:"binDir,omitempty"`
	// Replicas is how many processes each tier has, by its name.
	Replicas map[tier.Name]int `json:"replicas,omitempty"`
	// Tiers are those that run here. TierListen are IP:PORT, TierAt lists of HOST:PORT, by
	// the names of tiers.
	Tiers      []tier.Name            `json:"tiers,omitempty"`
	TierListen map[tier.Name]string   `json:"tierListen,omitempty"`
	TierAt     map[tier.Name][]string `json:"tierAt,omitempty"`
	// Flags are kube-apiserver's, by name without dashes. A value is a string, a
	// number, a boolean, or a list of those for a flag that is given repeatedly.
	Flags map[string]values `json:"flags,omitempty"`
	// TierFlags are the same for one tier each, by its name.
	TierFlags map[tier.Name]map[string]values `json:"tierFlags,omitempty"`
	// MemoryLimits are quantities by the names of tiers.
	MemoryLimits map[tier.Name]string `json:"memoryLimits,omitempty"`
	// CPULimits are numbers of CPUs, such as 500m, by the names of tiers.
	CPULimits    map[tier.Name]string `json:"cpuLimits,omitempty"`
	HopTransport *string              `json:"hopTransport,omitempty"`
	// PidsLimits are numbers of threads by the names of tiers.
	PidsLimits map[tier.Name]int `json:"pidsLimits,omitempty"`
	// UserRange is FIRST-LAST, or off. TierUsers are names by the names of tiers and etcd.
	UserRange *string           `json:"userRange,omitempty"`
	TierUsers map[string]string `json:"tierUsers,omitempty"`
	// Sandbox is enforce, log or off.
	Sandbox *string `json:"sandbox,omitempty"`
	// InternalCertValidity is a duration such as 24h.
	InternalCertValidity *string `json:"internalCertValidity,omitempty"`
}

// values are the values of one flag.
type values []string

// UnmarshalJSON implements json.Unmarshaler.
func (v *values) UnmarshalJSON(data []byte) error {
	var many []json.RawMessage
	if json.Unmarshal(data, &many) != nil {
		many = []json.RawMessage{data}
	}
	for _, one := range many {
		s, err := scalar(one)
		if err != nil {
			return err
		}
		*v = append(*v, s)
	}
	return nil
}

// scalar keeps numbers as they are written: a float would turn 1000000 into 1e+06.
func scalar(data []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return "", err
	}
	switch value := value.(type) {
	case string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	case json.Number:
		return value.String(), nil
	}
	return "", fmt.Errorf("%s is no value of a flag: want a string, a number, true or false, or a list of them", data)
}

// readFiles sets every flag that a file names and the command line does not.
func (o *Options) readFiles() error {
	paths, err := o.Sources()
	if err != nil {
		return err
	}
	f, origins, err := o.merged(paths)
	if err != nil {
		return err
	}
	o.file, o.origins, o.given = f, origins, map[string]bool{}
	o.flags.Visit(func(f *pflag.Flag) { o.given[f.Name] = true })
	set := func(name string, values []string) error {
		if o.given[name] {
			return nil
		}
		for _, v := range values {
			if err := o.flags.Set(name, v); err != nil {
				return fmt.Errorf("cannot use %s: %w", strings.Join(o.filesOf(name), ", "), err)
			}
		}
		return nil
	}
	return errors.Join(f.own(set), f.forwarded(o, set), f.readTierFlags(o, o.flags))
}

// own sets the supervisor's settings.
func (f *File) own(set func(string, []string) error) error {
	one := func(name string, value *string) error {
		if value == nil {
			return nil
		}
		return set(name, []string{*value})
	}
	return errors.Join(
		one("data-dir", f.DataDir),
		one("pki-from", f.PKIFrom),
		one("bind-address", f.BindAddress),
		one("secure-port", decimal(f.SecurePort)),
		one("insecure-port", decimal(f.InsecurePort)),
		one("insecure-bind-address", f.InsecureBindAddress),
		one("metrics-bind-address", f.MetricsBindAddress),
		one("metrics-token-file", f.MetricsTokenFile),
		set("etcd-servers", f.EtcdServers),
		one("etcd-cafile", f.EtcdCAFile),
		one("etcd-certfile", f.EtcdCertFile),
		one("etcd-keyfile", f.EtcdKeyFile),
		set("extensions-etcd-servers", f.ExtensionsEtcdServers),
		one("extensions-etcd-cafile", f.ExtensionsEtcdCAFile),
		one("extensions-etcd-certfile", f.ExtensionsEtcdCertFile),
		one("extensions-etcd-keyfile", f.ExtensionsEtcdKeyFile),
		one("etcd-quota-backend-bytes", decimal(f.EtcdQuotaBackendBytes)),
		one("snapshot-schedule", f.SnapshotSchedule),
		one("snapshot-keep", decimal(f.SnapshotKeep)),
		one("snapshot-dir", f.SnapshotDir),
		one("snapshot-recipients", f.SnapshotRecipients),
		one("without-aggregator", boolean(f.WithoutAggregator)),
		one("bin-dir", f.BinDir),
		set("replicas", pairs(f.Replicas)),
		set("memory-limit", pairs(f.MemoryLimits)),
		set("cpu-limit", pairs(f.CPULimits)),
		one("hop-transport", f.HopTransport),
		set("pids-limit", pairs(f.PidsLimits)),
		one("user-range", f.UserRange),
		set("tier-user", pairs(f.TierUsers)),
		one("sandbox", f.Sandbox),
		one("internal-cert-validity", f.InternalCertValidity),
		set("tiers", strs(f.Tiers)),
		set("tier-listen", pairs(f.TierListen)),
		set("tier-at", eachPair(f.TierAt)),
	)
}

// eachPair are TIER=VALUE for each of a tier's values.
func eachPair(of map[tier.Name][]string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		for _, value := range of[name] {
			all = append(all, string(name)+"="+value)
		}
	}
	return all
}

func decimal[N int | int64](n *N) *string {
	if n == nil {
		return nil
	}
	s := strconv.FormatInt(int64(*n), 10)
	return &s
}

func boolean(b *bool) *string {
	if b == nil {
		return nil
	}
	s := strconv.FormatBool(*b)
	return &s
}

// forwarded sets the flags of the tiers, in the order of their names.
func (f *File) forwarded(o *Options, set func(string, []string) error) error {
	var errs []error
	for _, known := range slices.Sorted(maps.Keys(f.Flags)) {
		flag, in := o.flags.Lookup(known), o.called(o.origins["flags."+known])
		if flag == nil || known == "help" {
			errs = append(errs, fmt.Errorf("cannot use %s: flags: %w", in, unknown(o.flags, known)))
		} else if _, ok := flag.Value.(*recorder); !ok {
			errs = append(errs, fmt.Errorf("cannot use %s: flags: --%s is the supervisor's own: set it beside flags, not among them", in, known))
		} else {
			errs = append(errs, set(known, f.Flags[known]))
		}
	}
	return errors.Join(errs...)
}
