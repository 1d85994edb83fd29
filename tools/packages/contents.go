package main

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"triptych.dev/triptych/tools/linked"
)

// programFolder is where packages put the programs: /usr/local is the administrator's.
const programFolder = "/usr/lib/triptych"

// unitFolder is where the units of deploy/ say that the programs are.
const unitFolder = "/usr/local/lib/triptych"

// entry is one file of a package.
type entry struct {
	// path is where it is installed, absolute.
	path string
	// source is a file here. Without one it is content, or a link.
	source  string
	content []byte
	link    string
	mode    fs.FileMode
	// config: what the administrator changed in it is kept.
	config bool
}

// shell is where the completions of a shell belong.
type shell struct{ name, path string }

// from is what packages are made of.
type from struct {
	// bin holds the programs for arch, root is the checkout.
	bin, arch, root string
	// supervisor is one that runs here, for what it prints of itself.
	supervisor string
	// documents are added to the documentation, by their names.
	documents map[string]string
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// entries are those of a package, of the given time. zsh is where completions of zsh belong, which is not the
// same in every distribution.
func (f from) entries(zsh string, at time.Time) ([]entry, error) {
	var all []entry
	for _, name := range linked.Files {
		program := filepath.Join(f.bin, name)
		if err := isFor(program, f.arch); err != nil {
			return nil, err
		}
		all = append(all, entry{path: path.Join(programFolder, name), source: program, mode: 0o755})
	}
	for _, name := range linked.Tiers {
		all = append(all, entry{path: path.Join(programFolder, name), link: linked.TiersFile})
	}
	all = append(all, entry{path: "/usr/bin/supervisor", link: path.Join(programFolder, "supervisor")})
	units, err := f.units()
	if err != nil {
		return nil, err
	}
	completions, err := f.completions(zsh)
	if err != nil {
		return nil, err
	}
	all = append(all, units...)
	all = append(all, completions...)
	manuals, err := f.manuals(at)
	if err != nil {
		return nil, err
	}
	for _, m := range manuals {
		m.path, m.content = "/usr/share/man/man8/"+m.path+".gz", compressed(m.content)
		all = append(all, m)
	}
	all = append(all,
		entry{path: "/usr/lib/sysusers.d/triptych.conf", source: f.deployed("systemd", "triptych.sysusers"), mode: 0o644},
		entry{path: "/etc/triptych/triptych.yaml", source: f.deployed("packages", "triptych.yaml"), mode: 0o644, config: true},
		entry{path: "/etc/default/triptych", source: f.deployed("packages", "triptych.default"), mode: 0o644, config: true},
	)
	for _, example := range []string{"systemd/tiers/aggregator.yaml", "systemd/tiers/core.yaml", "systemd/tiers/extensions.yaml", "haproxy/haproxy.cfg", "keepalived/keepalived.conf", "keepalived/check-api", "prometheus/rules.yaml", "grafana/triptych.json"} {
		if _, err := os.Stat(f.deployed(example)); err == nil {
			all = append(all, entry{path: path.Join("/usr/share/doc/triptych/examples", example), source: f.deployed(example), mode: 0o644})
		}
	}
	for name, source := range f.documents {
		all = append(all, entry{path: path.Join("/usr/share/doc/triptych", name), source: source, mode: 0o644})
	}
	return all, nil
}

func (f from) deployed(elem ...string) string {
	return filepath.Join(append([]string{f.root, "deploy"}, elem...)...)
}

func isFor(program, arch string) error {
	file, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w: build it by make release", program, err)
	}
	defer file.Close()
	if want, ok := machines[arch]; !ok || file.Machine != want {
		return fmt.Errorf("%s is for %s, and not for %s", program, file.Machine, arch)
	}
	return nil
}

// units are those of deploy/, but for where the programs are.
func (f from) units() ([]entry, error) {
	var all []entry
	for _, name := range []string{"triptych.service", "triptych@.service"} {
		content, err := os.ReadFile(f.deployed("systemd", name))
		if err != nil {
			return nil, err
		}
		content = bytes.ReplaceAll(content, []byte(unitFolder), []byte(programFolder))
		all = append(all, entry{path: "/usr/lib/systemd/system/" + name, content: content, mode: 0o644})
	}
	return all, nil
}

// completions are what the supervisor prints for each shell.
func (f from) completions(zsh string) ([]entry, error) {
	var all []entry
	for _, s := range []shell{
		{"bash", "/usr/share/bash-completion/completions/supervisor"},
		{"zsh", zsh + "/_supervisor"},
		{"fish", "/usr/share/fish/vendor_completions.d/supervisor.fish"},
	} {
		out, err := exec.Command(f.supervisor, "completion", s.name).Output()
		if err != nil || !strings.Contains(string(out), "supervisor") {
			return nil, fmt.Errorf("cannot make the completions for %s by %s: %w", s.name, f.supervisor, err)
		}
		all = append(all, entry{path: s.path, content: out, mode: 0o644})
	}
	return all, nil
}

// manuals are the man pages of all commands, by their names, dated by the given time.
func (f from) manuals(at time.Time) ([]entry, error) {
	folder, err := os.MkdirTemp("", "triptych-man")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	cmd := exec.Command(f.supervisor, "documents", "man", folder)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", at.Unix()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot make the man pages by %s: %w: %s", f.supervisor, err, out)
	}
	pages, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, page := range pages {
		content, err := os.ReadFile(filepath.Join(folder, page.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, entry{path: page.Name(), content: content, mode: 0o644})
	}
	return all, nil
}

// compressed is as distributions have man pages. It has no name and no time.
func compressed(content []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is right
	_, _ = w.Write(content)                               // to memory
	_ = w.Close()
	return b.Bytes()
}
