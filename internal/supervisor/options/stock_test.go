package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFlagsOfAStockServerBecomeAConfiguration(t *testing.T) {
	pki, elsewhere := t.TempDir(), t.TempDir()
	encryption := filepath.Join(elsewhere, "encryption.yaml")
	for _, file := range []string{encryption, filepath.Join(pki, "ca.crt")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, files, err := FromStock([]string{
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + pki + "/etcd/ca.crt", "--client-ca-file=" + pki + "/ca.crt",
		"--service-account-key-file=" + pki + "/sa.pub", "--secure-port=7443", "--advertise-address=10.0.0.1",
		"--service-cluster-ip-range=10.96.0.0/12", "--encryption-provider-config=" + encryption,
	}, pki, "/data/migrated")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0].Path != encryption {
		t.Errorf("%+v", files)
	}
	text := string(config)
	for want, is := range map[string]bool{"10.96.0.0/12": true, "/data/migrated/" + files[0].Name: true, pki: false, "2379": false, "7443": false, "10.0.0.1": false} {
		if strings.Contains(text, want) != is {
			t.Errorf("%s: want %v in\n%s", want, is, text)
		}
	}
	path := filepath.Join(t.TempDir(), "supervisor.yaml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse([]string{"--config=" + path}); err != nil {
		t.Fatal(err)
	}
	if err := o.Load(); err != nil || o.Forwarded.Last("service-cluster-ip-range") != "10.96.0.0/12" {
		t.Errorf("the configuration cannot be used: %v", err)
	}
	for _, flags := range [][]string{{"--no-such-flag=1"}, {"kube-apiserver"}} {
		if _, _, err := FromStock(flags, pki, "/data"); err == nil || !strings.Contains(err.Error(), strings.TrimLeft(strings.TrimSuffix(flags[0], "=1"), "-")) {
			t.Errorf("%v: %v", flags, err)
		}
	}
}
