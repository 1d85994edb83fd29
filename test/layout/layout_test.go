package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

// listed is what go list says about one package.
type listed struct {
	ImportPath string
	Name       string
	Imports    []string
}

// root is the checkout, seen from this package.
const root = "../.."

// goList runs go list in the checkout, once for equal arguments.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Imports"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		stderr := ""
		if exit := (&exec.ExitError{}); errors.As(err, &exit) {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("go list %v: %v\n%s", args, err, stderr)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

var ownPackages = sync.OnceValue(func() func(t *testing.T) []listed {
	var once sync.Once
	var packages []listed
	return func(t *testing.T) []listed {
		once.Do(func() { packages = goList(t, "./...") })
		return packages
	}
})()

// layerOf returns the layer of a package and the entry it belongs to, the
// longest that fits; -1 if it is in none.
func layerOf(pkg string) (layer int, entry string) {
	layer = -1
	for i, entries := range layers {
		for _, e := range entries {
			if (pkg == e || strings.HasPrefix(pkg, e+"/")) && len(e) > len(entry) {
				layer, entry = i, e
			}
		}
	}
	return layer, entry
}

func own(importPath string) (pkg string, ok bool) {
	return strings.CutPrefix(importPath, module+"/")
}

func TestEveryPackageHasALayer(t *testing.T) {
	for _, p := range ownPackages(t) {
		pkg, ok := own(p.ImportPath)
		if !ok || strings.HasPrefix(pkg, tests+"/") {
			continue
		}
		if layer, _ := layerOf(pkg); layer < 0 {
			t.Errorf("%s is in no layer: add it to layers.go", pkg)
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range ownPackages(t) {
		pkg, _ := own(p.ImportPath)
		for _, imported := range p.Imports {
			if imported, ok := own(imported); ok {
				if why := forbidden(pkg, imported); why != "" {
					t.Errorf("%s imports %s: %s", pkg, imported, why)
				}
			}
		}
	}
}

// forbidden says why pkg may not import imported, or nothing.
func forbidden(pkg, imported string) string {
	if strings.HasPrefix(imported, "cmd/") {
		return "nothing imports a command"
	}
	if strings.HasPrefix(pkg, tests+"/") {
		return ""
	}
	if strings.HasPrefix(imported, tests+"/") {
		return "only tests import tests"
	}
	from, entry := layerOf(pkg)
	to, importedEntry := layerOf(imported)
	if entry != importedEntry && to >= from {
		return "it is not in a lower layer"
	}
	return ""
}

// The rule itself must be able to say no.
func TestForbiddenImports(t *testing.T) {
	for name, want := range map[string]struct {
		pkg, imported string
		allowed       bool
	}{
		"down":            {"internal/handshake", "internal/tier", true},
		"up":              {"internal/tier", "internal/handshake", false},
		"tier to tier":    {"internal/core", "internal/extensions", false},
		"below a tier":    {"internal/core/storage", "internal/aggregator", false},
		"inside an entry": {"internal/supervisor", "internal/supervisor/child", true},
		"a command":       {"test/harness", "cmd/core", false},
		"a test's":        {"internal/core", "test/harness", false},
		"by a test":       {"test/harness", "internal/core", true},
	} {
		t.Run(name, func(t *testing.T) {
			if why := forbidden(want.pkg, want.imported); (why == "") != want.allowed {
				t.Errorf("%s imports %s: %q", want.pkg, want.imported, why)
			}
		})
	}
}

func TestCommandsImportOnlyInternalPackages(t *testing.T) {
	for _, p := range ownPackages(t) {
		pkg, _ := own(p.ImportPath)
		if !strings.HasPrefix(pkg, "cmd/") {
			continue
		}
		for _, imported := range p.Imports {
			inside := strings.HasPrefix(imported, module+"/internal/")
			if standard := !strings.Contains(strings.Split(imported, "/")[0], "."); !inside && !standard {
				t.Errorf("%s imports %s: what a command does is a package below internal", pkg, imported)
			}
		}
	}
}

func TestPackageNamesSayWhatTheyAre(t *testing.T) {
	for _, p := range ownPackages(t) {
		for _, name := range []string{p.Name, path.Base(p.ImportPath)} {
			if slices.Contains(emptyNames, name) {
				t.Errorf("%s: %q says nothing", p.ImportPath, name)
			}
		}
	}
}

func TestBinariesLinkOnlyWhatTheyServe(t *testing.T) {
	for command, limit := range limits {
		t.Run(path.Base(command), func(t *testing.T) {
			var kubernetes []string
			for _, p := range goList(t, "-deps", "./"+command) {
				if strings.HasPrefix(p.ImportPath, "k8s.io/kubernetes/") {
					kubernetes = append(kubernetes, p.ImportPath)
				}
			}
			t.Logf("%s links %d packages of k8s.io/kubernetes", command, len(kubernetes))
			if len(kubernetes) > limit {
				t.Errorf("at most %d are allowed:\n%s", limit, strings.Join(kubernetes, "\n"))
			}
			for _, pkg := range kubernetes {
				if strings.HasPrefix(pkg, "k8s.io/kubernetes/pkg/registry/") && !slices.Contains(registriesAllowed, pkg) {
					t.Errorf("%s links the registry %s: only core may hold its storage", command, pkg)
				}
			}
		})
	}
}

// kube-apiserver takes time zones along. Without, an image that has none would refuse a CronJob
// that names one.
func TestTiersBringTimeZonesAlong(t *testing.T) {
	for _, command := range []string{"core", "extensions", "aggregator"} {
		if !slices.ContainsFunc(goList(t, "-deps", "./cmd/"+command), func(p listed) bool { return p.ImportPath == "time/tzdata" }) {
			t.Errorf("%s links no time zones", command)
		}
	}
}
