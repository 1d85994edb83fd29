package spine

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// What a bundle holds of a control plane that runs, and that no key or token that this host has
// is in it. That those in logs and configuration are not either is held beside the command.
func TestASupportBundleTellsOfEveryProcess(t *testing.T) {
	c := harness.Shared(t)
	file := filepath.Join(harness.TempDir(t), "bundle.tar.gz")
	c.Kubectl(t, "create", "serviceaccount", "bundled")
	token := strings.TrimSpace(c.Kubectl(t, "create", "token", "bundled"))
	c.Kubectl(t, "create", "secret", "generic", "bundled", "--from-literal=password=planted-in-a-secret")
	if stdout, stderr, code := c.Supervisor(t.Context(), "support-bundle", "--goroutines", "--file", file); code != 0 || stderr != "" || strings.TrimSpace(stdout) != file {
		t.Fatalf("exits with %d: %s%s", code, stdout, stderr)
	}
	files := unpacked(t, file)
	for name, want := range map[string]string{
		"status.json": `"phase"`, "api/version.json": "+triptych.", "api/readyz.txt": "[+]ping ok", "api/livez.txt": "[+]ping ok", "api/metrics.txt": "triptych_tier_up{", "api/warnings.json": "",
		"api/priorities.txt": "workload-low", "command-line.txt": "--data-dir", "host.txt": "Linux version", "files.txt": "admin.kubeconfig", "certificates.txt": "apiserver.crt: CN=",
	} {
		if text, ok := files[name]; !ok || !strings.Contains(text, want) {
			t.Errorf("%s lacks %q: %.300q", name, want, text)
		}
	}
	for _, tier := range []string{"aggregator", "core", "extensions"} {
		if !strings.Contains(files["goroutines/"+tier+".txt"], "goroutine 1 [") {
			t.Errorf("goroutines of %s: %.300q", tier, files["goroutines/"+tier+".txt"])
		}
		if !strings.Contains(files["api/"+tier+".flags.txt"], "flagz") || files["log/"+tier+".log"] == "" {
			t.Errorf("flags and log of %s: %.300q", tier, files["api/"+tier+".flags.txt"])
		}
	}
	secrets := []string{token, "planted-in-a-secret"}
	err := filepath.WalkDir(c.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".key" {
			return err
		}
		content, err := os.ReadFile(path)
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") {
				secrets = append(secrets, line)
			}
		}
		return err
	})
	if err != nil || len(secrets) < 20 {
		t.Fatalf("%d secrets are known: %v", len(secrets), err)
	}
	for name, text := range files {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
}

// unpacked are the files of a bundle by their names, without its folder.
func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	f := harness.Must(os.Open(file))(t)
	defer f.Close()
	files, archive := map[string]string{}, tar.NewReader(harness.Must(gzip.NewReader(f))(t))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		files[name] = string(harness.Must(io.ReadAll(archive))(t))
	}
}
