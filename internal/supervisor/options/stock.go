package options

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// ours are flags of kube-apiserver that a supervisor has no need of with an etcd and keys of
// its own: it knows better.
var ours = []string{"etcd-servers", "etcd-cafile", "etcd-certfile", "etcd-keyfile", "bind-address", "secure-port"}

// FromStock returns the configuration of a supervisor that takes the place of a kube-apiserver with these flags, and the
// files that it names: folder is where those will be, as it is written in the configuration. Flags for
// files in pki, the folder that kubeadm makes, are left out: those files are taken over by their names.
func FromStock(flags []string, pki, folder string) (config []byte, files []SharedFile, err error) {
	o, fs := New(), pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	fs.Usage = func() {}
	o.AddFlags(fs)
	var kept []string
	for _, flag := range flags {
		name, value, found := strings.Cut(strings.TrimLeft(flag, "-"), "=")
		if !strings.HasPrefix(flag, "--") {
			return nil, nil, fmt.Errorf("%q is no flag: give each as --NAME=VALUE", flag)
		}
		if found && within(value, pki) || isOurs(name) {
			continue
		}
		kept = append(kept, flag)
	}
	if err := fs.Parse(kept); err != nil {
		return nil, nil, Explain(fs, err)
	}
	if err := o.Forwarded.check(); err != nil {
		return nil, nil, err
	}
	o.SecurePort = New().SecurePort
	return o.Shared(folder)
}

func isOurs(name string) bool {
	for _, one := range ours {
		if name == one {
			return true
		}
	}
	return false
}

// within tells whether a path is of a file in folder.
func within(path, folder string) bool {
	if !filepath.IsAbs(path) {
		return false
	}
	below, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(below)
}
