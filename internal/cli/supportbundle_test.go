package cli_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpack returns the files of a bundle by their names, without its folder.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, _ := f.Stat(); info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %s", file, info.Mode())
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Mode != 0o600 {
			t.Errorf("%s has mode %o", header.Name, header.Mode)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(text)
	}
}

// A bundle of a supervisor that was given secrets in every way, and whose processes wrote them
// into their logs, holds none of them.
func TestASupportBundleHoldsNoSecret(t *testing.T) {
	i := install(t)
	given := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(given, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tokens := write("tokens.csv", "planted-static-token,someone,1\n")
	configuration := write("triptych.yaml", "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\nflags:\n  token-auth-file: "+tokens+"\n  audit-webhook-config-file: "+
		write("audit.kubeconfig", "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: a, user: {token: planted-webhook-token}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\ncurrent-context: a\n")+"\n")
	if err := os.Mkdir(configuration+".d", 0o700); err != nil {
		t.Fatal(err)
	}
	write("triptych.yaml.d/more.yaml", "apiVersion: supervisor.triptych.dev/v1alpha1\nkind: SupervisorConfiguration\nflags:\n  service-account-issuer: https://someone:planted-in-an-address@issuer.example\n")
	s := i.run("--config=" + configuration)
	s.ready()
	planted := []string{"planted-static-token", "planted-webhook-token", "planted-in-a-header", "planted-in-an-address"}
	log := "a line of the log\nAuthorization: Bearer planted-in-a-header\nplanted-static-token planted-webhook-token\n"
	err := filepath.WalkDir(i.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".key") && !strings.HasSuffix(path, ".kubeconfig") {
			return err
		}
		content, err := os.ReadFile(path)
		log += string(content) + fmt.Sprintf("%q\n", content)
		for line := range strings.Lines(string(content)) {
			line = strings.TrimSpace(line)
			if data, is := strings.CutPrefix(line, "client-key-data: "); is {
				planted = append(planted, data)
			}
			if strings.HasSuffix(path, ".key") && len(line) > 20 && !strings.HasPrefix(line, "-----") {
				planted = append(planted, line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(planted) < 20 {
		t.Fatalf("there are only %d secrets", len(planted))
	}
	f, err := os.OpenFile(filepath.Join(i.dataDir, "log", "core.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(log + "the last line\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	bundle := filepath.Join(given, "b.tar.gz")
	if r := s.do("support-bundle", "--file", bundle, "--goroutines"); r.code != 0 || strings.TrimSpace(r.stdout) != bundle {
		t.Fatalf("%+v", r)
	}
	files := unpack(t, bundle)
	for name, text := range files {
		for _, secret := range planted {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
	for name, want := range map[string]string{
		"status.json": `"phase": "Ready"`, "version.json": "goVersion", "security.json": "aggregator", "command-line.txt": "--config=" + configuration,
		"configuration" + configuration: "token-auth-file", "configuration" + configuration + ".d/more.yaml": "[redacted]", "log/core.log": "the last line", "log/supervisor.log": "", "files.txt": "pki/ca.key",
		"certificates.txt": "kubernetes", "host.txt": "/proc/meminfo", "contents.yaml": "name: status.json",
	} {
		if text, ok := files[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s lacks %q: %q", name, want, text)
		}
	}
	if !strings.Contains(files["log/core.log"], "a line of the log") {
		t.Error("lines without secrets are gone")
	}
	for name := range files {
		if strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".kubeconfig") || strings.HasSuffix(name, ".csv") {
			t.Errorf("%s is packed", name)
		}
	}
	if r := s.do("support-bundle", "--file", bundle); r.code != 64 || !strings.Contains(r.stderr, "--file") {
		t.Errorf("over a file that exists: %+v", r)
	}
	if r := s.do("stop"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	s.wait()
	r := s.do("support-bundle", "--file", bundle+".2", "--log-bytes=200")
	if files := unpack(t, bundle+".2"); r.code != 0 || !strings.Contains(r.stderr, "status.json: no supervisor is running") || len(files["log/supervisor.log"]) > 200 || files["host.txt"] == "" {
		t.Errorf("of one that does not run: %+v, %d bytes of log", r, len(files["log/supervisor.log"]))
	}
	if !slices.ContainsFunc(strings.Split(r.stderr, "\n"), func(line string) bool { return strings.Contains(line, "are left out") }) {
		t.Errorf("%s", r.stderr)
	}
}
