package spine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// exitFailure of docs/reference/exit-codes.md: trying again may go better.
const exitFailure = 1

// mistake is something a user does wrong, and what he is told.
type mistake struct {
	args []string
	// prepare changes the data directory before the start.
	prepare func(t *testing.T, dir string)
	// in changes how the supervisor is started.
	in func(dir string, cmd *exec.Cmd)
	// code is the exit code, exitConfiguration if zero.
	code int
	// want are parts of the one line that is printed.
	want []string
}

// check starts a supervisor that gives up by itself: with one line, the right
// code, and nothing left of it.
func (m mistake) check(t *testing.T, dir string) {
	t.Helper()
	if m.prepare != nil {
		m.prepare(t, dir)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.StartBound)
	defer cancel()
	args := append([]string{"run", "--data-dir", dir, "--bind-address=127.0.0.1", "--secure-port=0"}, m.args...)
	cmd := exec.CommandContext(ctx, harness.Bin("supervisor"), args...)
	var said, errs strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &errs, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if m.in != nil {
		m.in(dir, cmd)
	}
	err := cmd.Run()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("it does not give up: %v\n%s%s", err, firstLines(said.String(), 30), errs.String())
	}
	code := m.code
	if code == 0 {
		code = exitConfiguration
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("it ends with %d, want %d", got, code)
	}
	complaint := lines(errs.String())
	if len(complaint) != 1 || !strings.HasPrefix(complaint[0], "error: ") {
		t.Errorf("want one line of error, got:\n%s", errs.String())
	}
	for _, want := range m.want {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("%q is not in: %s", want, errs.String())
		}
	}
	if left := harness.ProcsOf(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	wholeFiles(t, dir)
}

// wholeFiles finds what was half written.
func wholeFiles(t *testing.T, dir string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(entry.Name(), ".triptych-") {
			t.Errorf("%s is left", path)
		}
		return nil
	})
}

func checkMistakes(t *testing.T, all map[string]mistake) {
	t.Helper()
	for name, m := range all {
		t.Run(name, func(t *testing.T) { m.check(t, harness.TempDir(t)) })
	}
}

func takenPort(t *testing.T) int {
	t.Helper()
	l := harness.Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

func TestMistakenAddresses(t *testing.T) {
	secure, plain := takenPort(t), takenPort(t)
	secureFlag, plainFlag := fmt.Sprintf("--secure-port=%d", secure), fmt.Sprintf("--insecure-port=%d", plain)
	checkMistakes(t, map[string]mistake{
		"taken secure port":   {args: []string{secureFlag}, code: exitFailure, want: []string{"taken", fmt.Sprint(secure), "another --secure-port"}},
		"taken insecure port": {args: []string{plainFlag}, code: exitFailure, want: []string{"taken", fmt.Sprint(plain), "another --insecure-port"}},
		"both taken":          {args: []string{secureFlag, plainFlag}, code: exitFailure, want: []string{"taken", fmt.Sprint(secure)}},
		"no such address":     {args: []string{"--bind-address=192.0.2.1"}, code: exitFailure, want: []string{"192.0.2.1", "another --bind-address"}},
		"insecure outside":    {args: []string{"--insecure-port=8080", "--insecure-bind-address=0.0.0.0"}, want: []string{"0.0.0.0", "give 127.0.0.1"}},
		"no port":             {args: []string{"--secure-port=-1"}, want: []string{"--secure-port=-1", "0 to 65535"}},
		"a port of root's": {args: []string{"--secure-port=1"}, in: asNobody, prepare: forNobody,
			want: []string{"127.0.0.1:1", "--secure-port above 1023"}},
	})
}

// givenFiles are files that flags may name.
func givenFiles(t *testing.T) string {
	t.Helper()
	dir := harness.TempDir(t)
	ca := harness.Must(harness.NewCA("mine"))(t)
	leaf := harness.Leaf{CommonName: "me", Hosts: []string{"127.0.0.1"}, Usage: serverAuth}
	old, young := leaf, leaf
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	young.NotBefore, young.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for name, pair := range map[string]*harness.Pair{
		"ca": ca, "fine": harness.Must(ca.Issue(leaf))(t), "other": harness.Must(ca.Issue(leaf))(t),
		"old": harness.Must(ca.Issue(old))(t), "young": harness.Must(ca.Issue(young))(t),
	} {
		if err := pair.Write(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	harness.WriteFile(t, dir+"/empty", nil, 0o600)
	harness.WriteFile(t, dir+"/garbage", []byte("garbage\n"), 0o600)
	return dir
}

func TestMistakenCertificatesByFlags(t *testing.T) {
	dir := givenFiles(t)
	all := map[string]mistake{}
	for _, flags := range [][2]string{
		{"tls-cert-file", "tls-private-key-file"},
		{"proxy-client-cert-file", "proxy-client-key-file"},
		{"kubelet-client-certificate", "kubelet-client-key"},
		{"tls-sni-cert-key", "tls-sni-cert-key"},
		{"etcd-certfile", "etcd-keyfile"},
		{"extensions-etcd-certfile", "extensions-etcd-keyfile"},
	} {
		for name, m := range map[string]struct {
			cert, key string
			want      []string
		}{
			"missing":    {"none.crt", "none.key", []string{"none.crt", "no such file"}},
			"empty":      {"empty", "fine.key", []string{dir + "/empty", "put a PEM certificate there"}},
			"garbage":    {"garbage", "fine.key", []string{dir + "/garbage", "put a PEM certificate there"}},
			"bad key":    {"fine.crt", "garbage", []string{dir + "/garbage", "give the key of that certificate"}},
			"mismatched": {"fine.crt", "other.key", []string{"other.key does not belong to", "fine.crt", "give the key of that certificate"}},
			"expired":    {"old.crt", "old.key", []string{"old.crt expired on", "give --" + flags[0] + " a valid certificate"}},
			"not begun":  {"young.crt", "young.key", []string{"young.crt is valid from", "set the clock"}},
		} {
			args := []string{"--" + flags[0] + "=" + dir + "/" + m.cert, "--" + flags[1] + "=" + dir + "/" + m.key}
			if flags[0] == flags[1] {
				args = []string{"--" + flags[0] + "=" + dir + "/" + m.cert + "," + dir + "/" + m.key}
			}
			if prefix, of := strings.CutSuffix(flags[0], "etcd-certfile"); of {
				args = append(args, "--"+prefix+"etcd-servers=https://127.0.0.1:1")
			}
			all[flags[0]+" "+name] = mistake{args: args, want: m.want}
		}
	}
	for _, flag := range []string{"client-ca-file", "requestheader-client-ca-file", "etcd-cafile"} {
		etcd := "--etcd-servers=https://127.0.0.1:1"
		all[flag+" missing"] = mistake{args: []string{etcd, "--" + flag + "=" + dir + "/none"}, want: []string{"--" + flag, dir + "/none", "no such file"}}
		all[flag+" garbage"] = mistake{args: []string{etcd, "--" + flag + "=" + dir + "/garbage"}, want: []string{"--" + flag, "put a PEM certificate there"}}
		all[flag+" expired"] = mistake{args: []string{etcd, "--" + flag + "=" + dir + "/old.crt"}, want: []string{"old.crt holds no CA that is valid now", "--" + flag}}
	}
	all["one of two"] = mistake{args: []string{"--tls-cert-file=" + dir + "/fine.crt"}, want: []string{"--tls-private-key-file", "give both"}}
	all["no SNI pair"] = mistake{args: []string{"--tls-sni-cert-key=alone"}, want: []string{"--tls-sni-cert-key=alone", "want CERT,KEY"}}
	all["token keys that do not match"] = mistake{
		args: []string{"--service-account-key-file=" + dir + "/other.crt", "--service-account-signing-key-file=" + dir + "/fine.key"},
		want: []string{"every token would be refused", "add the public half"}}
	all["garbage token key"] = mistake{
		args: []string{"--service-account-key-file=" + dir + "/garbage", "--service-account-signing-key-file=" + dir + "/fine.key"},
		want: []string{dir + "/garbage", "put a PEM public key there"}}
	all["unreadable"] = mistake{in: asNobody,
		prepare: func(t *testing.T, data string) {
			forNobody(t, data)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		},
		args: []string{"--tls-cert-file=" + dir + "/fine.crt", "--tls-private-key-file=" + dir + "/fine.key"},
		want: []string{dir + "/fine.crt", "permission denied", "make it readable for user 65534"}}
	checkMistakes(t, all)
}

const nobody = 65534

// asNobody runs the supervisor as a user without rights, if we are root.
func asNobody(_ string, cmd *exec.Cmd) {
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
}

func forNobody(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMistakenConfiguration(t *testing.T) {
	file := func(content string) mistake {
		path := filepath.Join(harness.TempDir(t), "config.yaml")
		harness.WriteFile(t, path, []byte(content), 0o600)
		return mistake{args: []string{"--config", path}, want: []string{"--config " + path}}
	}
	const head = "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\n"
	configs := map[string][2]string{
		"unknown field":  {head + "securePrt: 1\n", "securePrt"},
		"wrong type":     {head + "securePort: abc\n", "securePort"},
		"no YAML":        {"{{{{", "line 1"},
		"duplicate key":  {head + "securePort: 1\nsecurePort: 2\n", "securePort"},
		"another kind":   {"apiVersion: v1\nkind: Pod\n", "want apiVersion: supervisor.triptych.dev/v1alpha1"},
		"unknown flag":   {head + "flags: {authorization-mod: RBAC}\n", "did you mean --authorization-mode"},
		"our own a flag": {head + "flags: {secure-port: 1}\n", "beside flags"},
		"empty":          {"", "want apiVersion"},
	}
	all := map[string]mistake{
		"flag":           {args: []string{"--secure-prt=1"}, want: []string{"unknown flag --secure-prt", "did you mean --secure-port"}},
		"argument":       {args: []string{"now"}, want: []string{`"now" is one too many`}},
		"duration":       {args: []string{"--request-timeout=abc"}, want: []string{"--request-timeout=abc", "want one like 30s"}},
		"CIDR":           {args: []string{"--service-cluster-ip-range=10.0.0.0"}, want: []string{"service-cluster-ip-range"}},
		"gate":           {args: []string{"--feature-gates=NoSuchGate=true"}, want: []string{"NoSuchGate"}},
		"plugin":         {args: []string{"--enable-admission-plugins=NoSuchPlugin"}, want: []string{"NoSuchPlugin"}},
		"authorization":  {args: []string{"--authorization-mode=Nonsense"}, want: []string{"Nonsense"}},
		"runtime-config": {args: []string{"--runtime-config=apps/v7=true"}, want: []string{"apps/v7"}},
		"negative":       {args: []string{"--max-requests-inflight=-4"}, want: []string{"max-requests-inflight"}},
		"no number":      {args: []string{"--max-requests-inflight=many"}, want: []string{"max-requests-inflight"}},
	}
	for name, c := range configs {
		m := file(c[0])
		m.want = append(m.want, c[1])
		all["file: "+name] = m
	}
	checkMistakes(t, all)
}

func TestMistakenPrograms(t *testing.T) {
	put := func(program string, as func(path string) error) mistake {
		p := harness.PrivateBinDir(t)
		path := filepath.Join(p.Dir, "core")
		if err := errors.Join(os.Remove(path), as(path)); err != nil {
			t.Fatal(err)
		}
		return mistake{args: []string{"--bin-dir=" + p.Dir}, want: []string{"core", program}}
	}
	link := func(to string) func(string) error {
		return func(path string) error { return os.Symlink(to, path) }
	}
	script := func(line string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o755) }
	}
	checkMistakes(t, map[string]mistake{
		"missing":        put("no such file or directory: install it there", func(string) error { return nil }),
		"not executable": put("is not an executable file", func(path string) error { return os.WriteFile(path, nil, 0o644) }),
		"true":           put("is the right program in its place?", link("/bin/true")),
		"another tier's": put("extensions", script("exec "+harness.Bin("extensions")+` "$@"`)),
		"no tier's":      put("no tier has this name", script("exec "+harness.Bin("tiers")+` "$@"`)),
		"no folder":      {args: []string{"--bin-dir=/nonexistent"}, want: []string{"/nonexistent", "--bin-dir"}},
	})
}

func TestMistakenEtcd(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	dir := givenFiles(t)
	silent := fmt.Sprintf("http://127.0.0.1:%d", takenPort(t))
	server := func(url string) string { return "--etcd-servers=" + url }
	ca := "--etcd-cafile=" + etcd.CAFile
	checkMistakes(t, map[string]mistake{
		"refused":        {args: []string{server("http://127.0.0.1:1")}, code: exitFailure, want: []string{"127.0.0.1:1", "refused", "start it, or give other --etcd-servers"}},
		"silent":         {args: []string{server(silent)}, code: exitFailure, want: []string{silent, "--etcd-servers"}},
		"one of several": {args: []string{server("http://127.0.0.1:1,http://127.0.0.1:2")}, code: exitFailure, want: []string{"127.0.0.1:1", "127.0.0.1:2"}},
		"no URL":         {args: []string{server("nowhere")}, want: []string{`"nowhere" is no URL`}},
		"wrong CA":       {args: []string{server(etcd.URL), "--etcd-cafile=" + dir + "/ca.crt"}, want: []string{etcd.URL, "x509", "--etcd-cafile"}},
		"no certificate": {args: []string{server(etcd.URL), ca}, want: []string{etcd.URL, "tls", "--etcd-certfile"}},
		"another's certificate": {args: []string{server(etcd.URL), ca, "--etcd-certfile=" + dir + "/fine.crt", "--etcd-keyfile=" + dir + "/fine.key"},
			want: []string{etcd.URL, "--etcd-certfile"}},
		"of extensions, wrong CA": {args: []string{"--extensions-etcd-servers=" + etcd.URL, "--extensions-etcd-cafile=" + dir + "/ca.crt"},
			want: []string{etcd.URL, "x509", "--extensions-etcd-cafile"}},
		"of extensions, no URL":     {args: []string{"--extensions-etcd-servers=nowhere"}, want: []string{`--extensions-etcd-servers: "nowhere" is no URL`}},
		"of extensions, no servers": {args: []string{"--extensions-etcd-cafile=" + etcd.CAFile}, want: []string{"give its --extensions-etcd-servers too"}},
		"without TLS":               {args: []string{server(strings.Replace(etcd.URL, "https", "http", 1)), ca}, code: exitFailure, want: []string{"--etcd-servers"}},
	})
}
