package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/options"
)

func patient(t *testing.T, args ...string) Patient {
	t.Helper()
	o, err := options.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	return Patient{Options: o, Dir: datadir.Dir{Root: root}, Programs: root}
}

func put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// found demands one finding of the level that says text; but for OK it has a remedy.
func found(t *testing.T, all []Finding, level, text string) {
	t.Helper()
	for _, f := range all {
		if f.Level == level && strings.Contains(f.Says, text) && (f.Remedy != "") == (level != OK) {
			return
		}
	}
	t.Errorf("no %s that says %q with its remedy in %+v", level, text, all)
}

func TestATakenPortIsAProblem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	p := patient(t, "--bind-address=127.0.0.1", "--secure-port="+port)
	found(t, ports(t.Context(), p), Problem, port+" is taken")
	l.Close()
	found(t, ports(t.Context(), p), OK, port+" is free")
	found(t, ports(t.Context(), patient(t, "--bind-address=192.0.2.1")), Problem, "192.0.2.1")
}

func TestKeysAreLookedAt(t *testing.T) {
	p := patient(t)
	put(t, filepath.Join(p.Dir.PKI(), "ca.key"), "key", 0o600)
	put(t, filepath.Join(p.Dir.InternalPKI(), "core-self.key"), "key", 0o600)
	found(t, modes(t.Context(), p), OK, "2 keys")
	put(t, filepath.Join(p.Dir.InternalPKI(), "core-self.key"), "key", 0o640)
	found(t, modes(t.Context(), p), Problem, "core-self.key")
	found(t, certificates(t.Context(), p), OK, "none yet")
	put(t, filepath.Join(p.Dir.PKI(), "ca.crt"), "damaged", 0o644)
	found(t, certificates(t.Context(), p), Problem, "ca.crt")
}

// A certificate of a day is no cause for a warning as long as it is replaced in time.
func TestCertificatesThatEndSoonAreLookedAt(t *testing.T) {
	for name, c := range map[string]struct {
		lived, left time.Duration
		level       string
	}{
		"a day that has begun":     {time.Hour, 23 * time.Hour, OK},
		"a day that is over soon":  {20 * time.Hour, 4 * time.Hour, Warning},
		"a year":                   {24 * time.Hour, 364 * 24 * time.Hour, OK},
		"a year that is over soon": {360 * 24 * time.Hour, 5 * 24 * time.Hour, Warning},
		"what has run out":         {24 * time.Hour, -time.Minute, Problem},
	} {
		p := patient(t)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-c.lived), NotAfter: time.Now().Add(c.left)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(p.Dir.InternalPKI(), "core-self.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
		if all := certificates(t.Context(), p); len(all) != 1 || all[0].Level != c.level {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

func TestProgramsAreLookedFor(t *testing.T) {
	p := patient(t)
	for _, name := range []string{"core", "aggregator", "extensions"} {
		put(t, filepath.Join(p.Programs, name), "program", 0o755)
	}
	found(t, programs(t.Context(), p), OK, p.Programs)
	put(t, filepath.Join(p.Programs, "core"), "program", 0o644)
	found(t, programs(t.Context(), p), Problem, "core is not an executable")
	if err := os.Remove(filepath.Join(p.Programs, "extensions")); err != nil {
		t.Fatal(err)
	}
	found(t, programs(t.Context(), p), Problem, "extensions")
}

func TestTheMachineIsLookedAt(t *testing.T) {
	root := t.TempDir()
	found(t, cgroups(root), Warning, "there are none")
	put(t, filepath.Join(root, "cgroup.controllers"), "cpu pids\n", 0o600)
	found(t, cgroups(root), Warning, "without memory")
	put(t, filepath.Join(root, "cgroup.controllers"), "cpuset cpu io memory pids\n", 0o600)
	found(t, cgroups(root), OK, "version 2")
	put(t, filepath.Join(root, "meminfo"), "MemTotal: 9 kB\nMemAvailable:    2048 kB\n", 0o600)
	if n, err := available(filepath.Join(root, "meminfo")); n != 2<<20 || err != nil {
		t.Error(n, err)
	}
	found(t, disk(t.Context(), patient(t)), OK, "a write takes")
	found(t, disk(t.Context(), Patient{Options: patient(t).Options, Dir: datadir.Dir{Root: filepath.Join(root, "not", "there")}}), OK, "a write takes")
	if left, _ := filepath.Glob(filepath.Join(root, ".triptych*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheWorstCounts(t *testing.T) {
	if got := Worst([]Finding{ok("", ""), warning("", "", ""), problem("", "", ""), warning("", "", "")}); got != Problem {
		t.Error(got)
	}
	if got := Worst([]Finding{warning("", "", ""), ok("", "")}); got != Warning {
		t.Error(got)
	}
}
