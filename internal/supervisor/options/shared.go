package options

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/tier"
)

// hostsOwn are flags that say something about one host alone.
var hostsOwn = []string{"advertise-address", "tls-cert-file", "tls-private-key-file", "tls-sni-cert-key", "cert-dir", "audit-log-path"}

// SharedFile is a file that a flag names, and that every host of the cluster needs.
type SharedFile struct {
	// Path is where it is here.
	Path string
	// Name is what it is called there, below the folder of such files.
	Name string
}

// Shared returns the configuration file of another host of the same cluster, and the
// files that it names: folder is where those are there, as it is written in the
// configuration. What says something about this host alone is left out.
func (o *Options) Shared(folder string) (config []byte, files []SharedFile, err error) {
	moved := func(flag, value string) string {
		if !isFile(value) {
			return value
		}
		f := SharedFile{Path: value, Name: flag + "-" + strconv.Itoa(len(files)) + path.Ext(value)}
		files = append(files, f)
		return path.Join(folder, f.Name)
	}
	transport, validity := o.HopTransport.String(), o.CertValidity.String()
	file := File{
		APIVersion: APIVersion, Kind: Kind,
		SecurePort: &o.SecurePort, EtcdServers: o.EtcdServers, ExtensionsEtcdServers: o.ExtensionsEtcd.Servers,
		Flags: map[string]values{}, TierFlags: map[tier.Name]map[string]values{},
		Replicas: o.Replicas, MemoryLimits: o.MemoryLimits.quantities(), CPULimits: o.CPULimits.quantities(), PidsLimits: o.PidsLimits, HopTransport: &transport,
		InternalCertValidity: &validity,
	}
	for _, one := range []struct {
		flag, value string
		to          **string
	}{
		{"etcd-cafile", o.EtcdCAFile, &file.EtcdCAFile},
		{"etcd-certfile", o.EtcdCertFile, &file.EtcdCertFile},
		{"etcd-keyfile", o.EtcdKeyFile, &file.EtcdKeyFile},
		{"extensions-etcd-cafile", o.ExtensionsEtcd.CAFile, &file.ExtensionsEtcdCAFile},
		{"extensions-etcd-certfile", o.ExtensionsEtcd.CertFile, &file.ExtensionsEtcdCertFile},
		{"extensions-etcd-keyfile", o.ExtensionsEtcd.KeyFile, &file.ExtensionsEtcdKeyFile},
	} {
		if one.value != "" {
			there := moved(one.flag, one.value)
			*one.to = &there
		}
	}
	if o.WithoutAggregator {
		file.WithoutAggregator = &o.WithoutAggregator
	}
	for _, s := range o.Forwarded.given {
		if !slices.Contains(hostsOwn, s.name) {
			file.Flags[s.name] = append(file.Flags[s.name], moved(s.name, s.value))
		}
	}
	for name, settings := range o.TierFlags.given {
		file.TierFlags[name] = map[string]values{}
		for _, s := range settings {
			file.TierFlags[name][s.name] = append(file.TierFlags[name][s.name], s.value)
		}
	}
	config, err = yaml.Marshal(file)
	return config, files, err
}

// isFile tells a flag's value that is the path of a file. One without a slash may be
// anything.
func isFile(value string) bool {
	if !strings.ContainsRune(value, filepath.Separator) {
		return false
	}
	info, err := os.Stat(value)
	return err == nil && info.Mode().IsRegular()
}
