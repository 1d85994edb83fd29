package spine

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// inMount starts the supervisor in a mount namespace of its own, after a command
// of the shell that may use $DIR.
func inMount(command string) func(string, *exec.Cmd) {
	return func(dir string, cmd *exec.Cmd) {
		shell := exec.Command("/bin/sh", append([]string{"-c", command + ` && exec "$0" "$@"`}, cmd.Args...)...)
		cmd.Path, cmd.Args = shell.Path, shell.Args
		cmd.Env = append(os.Environ(), "DIR="+dir)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
		}
	}
}

func TestMistakenDataDirectory(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { harness.WriteFile(t, filepath.Join(dir, name), []byte(content), 0o600) }
	}
	checkMistakes(t, map[string]mistake{
		"foreign":        {prepare: write("somebody-elses", "precious"), want: []string{"somebody-elses", "choose an empty or new directory"}},
		"newer":          {prepare: write("triptych.yaml", "format: 99\n"), want: []string{"format 99 is newer", "use the version"}},
		"corrupt marker": {prepare: write("triptych.yaml", "\x00\x01"), want: []string{"triptych.yaml is damaged", "format: 1"}},
		"a file":         {args: []string{"--data-dir=/etc/passwd"}, want: []string{"/etc/passwd", "give --data-dir a directory"}},
		"too long":       {args: []string{"--data-dir=/tmp/" + strings.Repeat("x", 120)}, want: []string{"too long for the control socket", "choose a shorter one"}},
		"of another user": {in: asNobody, args: []string{"--data-dir=" + harness.TempDir(t)},
			want: []string{"make it writable for user 65534"}},
		"read-only":         {in: inMount(`mount -t tmpfs -o ro none "$DIR"`), want: []string{"read-only file system", "another --data-dir"}},
		"no space":          {in: inMount(`mount -t tmpfs -o size=16k none "$DIR"`), want: []string{"no space left", "free some space"}},
		"no space for etcd": {in: inMount(`mount -t tmpfs -o size=8m none "$DIR"`), code: exitFailure, want: []string{"etcd", "no space left", "free some space"}},
	})
}

// used returns a data directory that has been used.
func used(t *testing.T) string {
	t.Helper()
	dir := harness.TempDir(t)
	c := harness.Run(t, harness.Options{Dir: dir})
	c.Stop(t)
	return dir
}

// What is damaged in a used directory is named, with what to do about it, and
// is left as it is.
func TestDamagedDataDirectory(t *testing.T) {
	from := used(t)
	other := harness.Must(harness.NewCA("another"))(t)
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	overwrite := func(pattern string, change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			if len(found) == 0 {
				t.Fatalf("no %s", pattern)
			}
			harness.WriteFile(t, found[0], change(harness.Must(os.ReadFile(found[0]))(t)), 0o600)
		}
	}
	half := func(b []byte) []byte { return b[:len(b)/2] }
	garbage := func(b []byte) []byte { return []byte(strings.Repeat("garbage ", len(b)/8)) }
	for name, m := range map[string]mistake{
		"key gone":      {prepare: remove("pki/apiserver.key"), want: []string{"apiserver.key is missing", "remove the certificate"}},
		"internal gone": {prepare: remove("pki/internal/core-self.key"), want: []string{"core-self.key is missing", "remove the certificate"}},
		"truncated CA":  {prepare: overwrite("pki/ca.crt", half), want: []string{"ca.crt holds no valid certificate", "put a PEM certificate there"}},
		"truncated key": {prepare: overwrite("pki/etcd/server.key", half), want: []string{"server.key holds no valid private key"}},
		"empty":         {prepare: overwrite("pki/front-proxy-ca.crt", func([]byte) []byte { return nil }), want: []string{"front-proxy-ca.crt", "put a PEM certificate there"}},
		"another's CA":  {prepare: overwrite("pki/ca.crt", func([]byte) []byte { return other.CertPEM() }), want: []string{"ca.key does not belong to", "put the key of that certificate there"}},
		"from the future": {prepare: func(t *testing.T, dir string) {
			ca := harness.Must(harness.LoadPair(dir+"/pki/ca.crt", dir+"/pki/ca.key"))(t)
			young := harness.Must(ca.Issue(harness.Leaf{CommonName: "kube-apiserver", Usage: serverAuth, NotBefore: time.Now().Add(time.Hour)}))(t)
			if err := young.Write(dir + "/pki/apiserver"); err != nil {
				t.Fatal(err)
			}
		}, want: []string{"apiserver.crt is valid from", "set the clock"}},
		"database cut short":  {prepare: overwrite("etcd/member/snap/db", func(b []byte) []byte { return b[:4<<12] }), want: []string{"is damaged", "restore it from a backup"}},
		"database of garbage": {prepare: overwrite("etcd/member/snap/db", garbage), want: []string{"is damaged", "restore it from a backup"}},
		"log of garbage":      {prepare: overwrite("etcd/member/wal/*.wal", garbage), want: []string{"is damaged", "restore it from a backup"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := harness.TempDir(t)
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			// Copies are readable by all; keys must not be.
			_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error { return os.Chmod(path, 0o700) })
			m.check(t, dir)
		})
	}
}

// What a service manager or a shell may do to a process is no obstacle: no
// standard streams, no environment, an open umask, few descriptors.
func TestBareEnvironmentIsEnough(t *testing.T) {
	dir := harness.TempDir(t)
	cmd := exec.Command("/bin/sh", "-c", `umask 000; ulimit -Sn 64; exec env -i "$0" run --data-dir "$1" --secure-port=0 <&- >&- 2>&-`, harness.Bin("supervisor"), dir)
	p := harness.Must(harness.StartProcess(syscall.SIGTERM, nil, cmd.Path, cmd.Args[1:]...))(t)
	c := &harness.Cluster{Dir: dir, Process: p, API: harness.API{Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	harness.Eventually(t, harness.StartBound, "Ready", func() error {
		s, _, err := c.Status()
		if err == nil && s.Phase != "Ready" {
			err = fmt.Errorf("%v", s)
		}
		return err
	})
	if got := c.Get(t, "/version"); got.Code != http.StatusOK {
		t.Errorf("%s", got)
	}
	_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := entry.Info(); err == nil && info.Mode().Type() != os.ModeSocket && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("others can write %s: %s", path, info.Mode())
		}
		return nil
	})
}
