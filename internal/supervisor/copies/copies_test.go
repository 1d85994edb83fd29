package copies

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func folder(t *testing.T) *Folder {
	t.Helper()
	f, err := New(filepath.Join(t.TempDir(), "handed"), -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// user writes a file of the user's and returns its path.
func user(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func want(t *testing.T, path, content string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%s holds %q, want %q: %v", path, got, content, err)
	}
}

func hand(t *testing.T, f *Folder, args ...string) []string {
	t.Helper()
	handed, err := f.Arguments(args)
	if err != nil {
		t.Fatal(err)
	}
	return handed
}

func TestFilesOfFlagsAreCopiedAndOthersAreLeft(t *testing.T) {
	f := folder(t)
	cert, key, log := user(t, "a.crt", "cert"), user(t, "a.crt.key", "key"), user(t, "audit.log", "events")
	t.Chdir(filepath.Dir(cert))
	handed := hand(t, f, "--tls-sni-cert-key="+cert+","+key+":a.example", "--audit-log-path="+log, "--v=4", "--etcd-servers=https://h:1/", "--client-ca-file=a.crt", "--profiling")
	copyOf := func(path string) string { return f.copies[path].to }
	for i, want := range []string{
		"--tls-sni-cert-key=" + copyOf(cert) + "," + copyOf(key) + ":a.example", "--audit-log-path=" + log, "--v=4", "--etcd-servers=https://h:1/",
		"--client-ca-file=" + copyOf(cert), "--profiling",
	} {
		if handed[i] != want {
			t.Errorf("%q, want %q", handed[i], want)
		}
	}
	want(t, copyOf(cert), "cert")
	want(t, copyOf(key), "key")
	if len(f.Files()) != 2 {
		t.Errorf("copies of %q", f.Files())
	}
}

// What a configuration names is handed over with it, by relative names too, and the rest of it is kept.
func TestFilesThatAFileNamesAreCopiedWithIt(t *testing.T) {
	f := folder(t)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ca.crt": "ca", "token": "secret",
		"kubeconfig": "# a comment\nclusters:\n- cluster: {certificate-authority: ca.crt, server: https://h}\nusers:\n- user: {tokenFile: " + dir + "/token}\n",
		"admission":  "plugins:\n- name: ImagePolicyWebhook\n  configuration:\n    imagePolicy: {kubeConfigFile: kubeconfig, allowTTL: 50}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hand(t, f, "--admission-control-config-file="+dir+"/admission")
	copyOf := func(name string) string { return f.copies[filepath.Join(dir, name)].to }
	want(t, copyOf("ca.crt"), "ca")
	want(t, copyOf("token"), "secret")
	kubeconfig, _ := os.ReadFile(copyOf("kubeconfig"))
	for _, part := range []string{copyOf("ca.crt"), copyOf("token"), "https://h", "# a comment"} {
		if !strings.Contains(string(kubeconfig), part) {
			t.Errorf("no %s in %s", part, kubeconfig)
		}
	}
	admission, _ := os.ReadFile(copyOf("admission"))
	if !strings.Contains(string(admission), copyOf("kubeconfig")) || !strings.Contains(string(admission), "allowTTL: 50") {
		t.Errorf("%s", admission)
	}
}

func TestACopyFollowsItsFile(t *testing.T) {
	f := folder(t)
	key := user(t, "key", "old")
	to := strings.TrimPrefix(hand(t, f, "--tls-private-key-file="+key)[0], "--tls-private-key-file=")
	if changed, err := f.Renew(); err != nil || len(changed) != 0 {
		t.Errorf("%q, %v", changed, err)
	}
	if err := os.WriteFile(key+".next", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(key+".next", key); err != nil {
		t.Fatal(err)
	}
	if changed, err := f.Renew(); err != nil || len(changed) != 1 || changed[0] != key {
		t.Errorf("%q, %v", changed, err)
	}
	want(t, to, "new")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Renew(); err != nil {
		t.Error(err)
	}
	want(t, to, "new")
}

func TestFoldersOfConfigurationsAreFollowed(t *testing.T) {
	f := folder(t)
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", "a: 1\n")
	hand(t, f, "--admission-control-config-file="+user(t, "c", "staticManifestsDir: "+dir+"\n"))
	to := f.whole[dir]
	want(t, filepath.Join(to, "a.yaml"), "a: 1\n")
	write("b.yaml", "b: 1\n")
	_ = os.Remove(filepath.Join(dir, "a.yaml"))
	if _, err := f.Renew(); err != nil {
		t.Error(err)
	}
	want(t, filepath.Join(to, "b.yaml"), "b: 1\n")
	if _, err := os.Stat(filepath.Join(to, "a.yaml")); !os.IsNotExist(err) {
		t.Errorf("a file that was removed is there: %v", err)
	}
}

func TestAKubeconfigThatRunsAProgramIsRefused(t *testing.T) {
	file := user(t, "kubeconfig", "users:\n- user: {exec: {command: aws, apiVersion: v1}}\n")
	f := folder(t)
	if _, err := f.Arguments([]string{"--audit-webhook-config-file=" + file}); !errors.Is(err, errProgram) || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	f.Programs = true
	if _, err := f.Arguments([]string{"--audit-webhook-config-file=" + file}); err != nil {
		t.Error(err)
	}
}

// The socket need not be there yet, and may be another one later.
func TestASocketLeadsToTheUsers(t *testing.T) {
	f := folder(t)
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "kms.sock")
	hand(t, f, "--encryption-provider-config="+user(t, "enc", "kms: {endpoint: unix://"+path+"}\n"))
	own := f.relays[path].path
	if conn, err := net.Dial("unix", own); err != nil {
		t.Error(err)
	} else if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answers")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		conn, err := l.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("unix", own)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("hello"))
	_ = conn.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	conn.Close()
	<-echoed
}
