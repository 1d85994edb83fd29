package process

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// flags returns a set that knows every shared setting and one that is not.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("tier", pflag.ContinueOnError)
	for _, name := range append(append([]string{"etcd-certfile", "encryption-provider-config"}, sharedFlags...), sharedFiles...) {
		fs.String(name, "", "")
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func settings(t *testing.T, fs *pflag.FlagSet) (map[string]string, string) {
	t.Helper()
	byFlag, all, err := Settings(fs)
	if err != nil {
		t.Fatal(err)
	}
	return byFlag, all
}

// wantOnly demands that of two settings exactly the one called name differs.
func wantOnly(t *testing.T, name string, before, after *pflag.FlagSet) {
	t.Helper()
	was, wasAll := settings(t, before)
	is, isAll := settings(t, after)
	if was[name] == is[name] || wasAll == isAll {
		t.Errorf("--%s does not show: %s and %s", name, wasAll, isAll)
	}
	delete(was, name)
	delete(is, name)
	if !maps.Equal(was, is) {
		t.Errorf("--%s shows as another: %v and %v", name, was, is)
	}
}

func TestEachSharedFlagShowsInTheSettings(t *testing.T) {
	// Tiers that disagree on one of these store, decode or route differently.
	for _, name := range []string{
		"emulation-forward-compatible", "enable-priority-and-fairness", "etcd-prefix", "feature-gates",
		"min-compatibility-version", "request-timeout", "runtime-config", "runtime-config-emulation-forward-compatible", "storage-backend",
	} {
		wantOnly(t, name, flags(t), flags(t, "--"+name+"=x"))
	}
}

func TestEachSharedFileShowsByItsContentAndNotByItsName(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, copied, two := file("one", "content"), file("copy", "content"), file("two", "other")
	for _, name := range []string{"audit-policy-file", "tracing-config-file"} {
		wantOnly(t, name, flags(t, "--"+name+"="+one), flags(t, "--"+name+"="+two))
		wantOnly(t, name, flags(t), flags(t, "--"+name+"="+one))
		_, a := settings(t, flags(t, "--"+name+"="+one))
		if _, b := settings(t, flags(t, "--"+name+"="+copied)); a != b {
			t.Errorf("--%s differs by the name of the file", name)
		}
	}
}

func TestWhatEachTierHasItsOwnOfIsNoSharedSetting(t *testing.T) {
	_, a := settings(t, flags(t))
	if _, b := settings(t, flags(t, "--etcd-certfile=core-client.crt")); a != b {
		t.Error("tiers with certificates of their own would refuse one another")
	}
	if _, b := settings(t, flags(t, "--encryption-provider-config="+os.DevNull)); a != b {
		t.Error("a tier that died after a change of the encryption would be refused")
	}
}

func TestASettingIsNoSecret(t *testing.T) {
	byFlag, all := settings(t, flags(t, "--feature-gates=Secret=true"))
	for name, value := range byFlag {
		if strings.Contains(value+all, "Secret") {
			t.Errorf("--%s is told as it is: %s", name, value)
		}
	}
}

func TestAFlagThatATierLacksIsLeftOut(t *testing.T) {
	fs := pflag.NewFlagSet("tier", pflag.ContinueOnError)
	fs.String("feature-gates", "", "")
	if byFlag, _ := settings(t, fs); len(byFlag) != 1 || byFlag["feature-gates"] == "" {
		t.Errorf("got %v", byFlag)
	}
}

func TestASharedFileThatCannotBeReadIsNamedWithItsFlag(t *testing.T) {
	for _, name := range sharedFiles {
		_, _, err := Settings(flags(t, "--"+name+"=/nowhere/at/all"))
		if err == nil || !strings.Contains(err.Error(), "--"+name) || !strings.Contains(err.Error(), "/nowhere/at/all") {
			t.Errorf("--%s: got %v", name, err)
		}
	}
}
