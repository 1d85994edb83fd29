package options

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/flagtable"
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
	BindAddress            *string  `json:"bindAddress,omitempty"`
	SecurePort             *int     `json:"securePort,omitempty"`
	InsecurePort           *int     `json:"insecurePort,omitempty"`
	InsecureBindAddress    *string  `json:"insecureBindAddress,omitempty"`
	EtcdServers            []string `json:"etcdServers,omitempty"`
	EtcdCAFile             *string  `json:"etcdCAFile,omitempty"`
	EtcdCertFile           *string  `json:"etcdCertFile,omitempty"`
	EtcdKeyFile            *string  `json:"etcdKeyFile,omitempty"`
	ExtensionsEtcdServers  []string `json:"extensionsEtcdServers,omitempty"`
	ExtensionsEtcdCAFile   *string  `json:"extensionsEtcdCAFile,omitempty"`
	ExtensionsEtcdCertFile *string  `json:"extensionsEtcdCertFile,omitempty"`
	ExtensionsEtcdKeyFile  *string  `json:"extensionsEtcdKeyFile,omitempty"`
	EtcdQuotaBackendBytes  *int64   `json:"etcdQuotaBackendBytes,omitempty"`
	WithoutAggregator      *bool    `json:"withoutAggregator,omitempty"`
	BinDir                 *string  `json:"binDir,omitempty"`
	// Replicas is how many processes each tier has, by its name.
	Replicas map[tier.Name]int `json:"replicas,omitempty"`
	// Flags are kube-apiserver's, by name without dashes. A value is a string, a
	// number, a boolean, or a list of those for a flag that is given repeatedly.
	Flags map[string]values `json:"flags,omitempty"`
	// TierFlags are the same for one tier each, by its name.
	TierFlags map[tier.Name]map[string]values `json:"tierFlags,omitempty"`
	// MemoryLimits are quantities by the names of tiers.
	MemoryLimits map[tier.Name]string `json:"memoryLimits,omitempty"`
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

func parseFile(data []byte) (*File, error) {
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	if kind.APIVersion != APIVersion || kind.Kind != Kind {
		return nil, fmt.Errorf("it is a %q of %q: want apiVersion: %s and kind: %s", kind.Kind, kind.APIVersion, APIVersion, Kind)
	}
	f := &File{}
	return f, yaml.UnmarshalStrict(data, f)
}

// readFile sets every flag that the file names and the command line does not.
func (o *Options) readFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := parseFile(data)
	if err != nil {
		return err
	}
	given := map[string]bool{}
	o.flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	set := func(name string, values []string) error {
		if given[name] {
			return nil
		}
		for _, v := range values {
			if err := o.flags.Set(name, v); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.Join(f.own(set), f.forwarded(o.flags, set), f.readTierFlags(o, o.flags))
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
		one("bind-address", f.BindAddress),
		one("secure-port", decimal(f.SecurePort)),
		one("insecure-port", decimal(f.InsecurePort)),
		one("insecure-bind-address", f.InsecureBindAddress),
		set("etcd-servers", f.EtcdServers),
		one("etcd-cafile", f.EtcdCAFile),
		one("etcd-certfile", f.EtcdCertFile),
		one("etcd-keyfile", f.EtcdKeyFile),
		set("extensions-etcd-servers", f.ExtensionsEtcdServers),
		one("extensions-etcd-cafile", f.ExtensionsEtcdCAFile),
		one("extensions-etcd-certfile", f.ExtensionsEtcdCertFile),
		one("extensions-etcd-keyfile", f.ExtensionsEtcdKeyFile),
		one("etcd-quota-backend-bytes", decimal(f.EtcdQuotaBackendBytes)),
		one("without-aggregator", boolean(f.WithoutAggregator)),
		one("bin-dir", f.BinDir),
		set("replicas", asFlag(f.Replicas)),
		set("memory-limit", pairs(f.MemoryLimits)),
	)
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
func (f *File) forwarded(fs *pflag.FlagSet, set func(string, []string) error) error {
	var errs []error
	names := make([]string, 0, len(f.Flags))
	for name := range f.Flags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		known := flagtable.Normalize(strings.TrimLeft(name, "-"))
		flag := fs.Lookup(known)
		if flag == nil || known == "help" {
			errs = append(errs, fmt.Errorf("flags: %w", unknown(fs, known)))
		} else if _, ok := flag.Value.(*recorder); !ok {
			errs = append(errs, fmt.Errorf("flags: --%s is the supervisor's own: set it beside flags, not among them", known))
		} else {
			errs = append(errs, set(known, f.Flags[name]))
		}
	}
	return errors.Join(errs...)
}
