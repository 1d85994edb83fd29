// Package linked tells which modules the programs of this project are linked from, and under
// which licences those are. It asks the go command, so nothing needs to be built.
package linked

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Programs are those that are shipped.
var Programs = append([]string{"supervisor"}, Tiers...)

// Tiers are the programs that are one file, by links that are called after them.
var Tiers = []string{"core", "extensions", "aggregator"}

// TiersFile is that file.
const TiersFile = "tiers"

// Files are those that are linked: whatever is shipped is in them.
var Files = []string{"supervisor", TiersFile}

// Platforms are those that releases are built for, as GOARCH.
var Platforms = []string{"amd64", "arm64"}

// Main is the path of the module that the programs are of.
const Main = "triptych.dev/triptych"

// Module is a module of which a package is linked into a program.
type Module struct {
	// Path and Version are those of the replacement where there is one.
	Path, Version string
	// Dir is where its source is.
	Dir string
	// Programs link it, in the order of Programs.
	Programs []string
	// packages are the folders of those that are linked.
	packages []string
	// licences are known once they were looked for.
	licences []string
}

// Modules are those that the programs of the checkout at root are linked from, on any of the
// Platforms, by path. The project's own and Go's are none of them.
func Modules(root string) ([]*Module, error) {
	all := map[string]*Module{}
	for _, arch := range Platforms {
		for _, program := range Programs {
			lines, err := list(root, arch, "./cmd/"+program)
			if err != nil {
				return nil, err
			}
			for _, line := range lines {
				path, version, dir, pkg := line[0], line[1], line[2], line[3]
				m := all[path]
				if m == nil {
					m = &Module{Path: path, Version: version, Dir: dir}
					all[path] = m
				}
				if !slices.Contains(m.Programs, program) {
					m.Programs = append(m.Programs, program)
				}
				if !slices.Contains(m.packages, pkg) {
					m.packages = append(m.packages, pkg)
				}
			}
		}
	}
	modules := make([]*Module, 0, len(all))
	for _, m := range all {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b *Module) int { return strings.Compare(a.Path, b.Path) })
	return modules, nil
}

// list returns module, version, the module's folder and the package's folder of all packages
// of others that a program links.
func list(root, arch, program string) (lines [][]string, err error) {
	const module = `{{with .Module.Replace}}{{.Path}}{{"\t"}}{{.Version}}{{"\t"}}{{.Dir}}{{else}}{{.Module.Path}}{{"\t"}}{{.Module.Version}}{{"\t"}}{{.Module.Dir}}{{end}}`
	cmd := exec.Command("go", "list", "-deps", "-f", `{{if .Module}}{{if not .Module.Main}}`+module+`{{"\t"}}{{.Dir}}{{end}}{{end}}`, program)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list what %s links: %w\n%s", program, err, stderr.Bytes())
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) == 4 {
			lines = append(lines, fields)
		}
	}
	return lines, nil
}

// Notice is a text that goes with a module wherever its code goes.
type Notice struct {
	// File is relative to the module, with slashes.
	File string
	Text []byte
}

// Notices are the licences that the linked packages of the module stand under: for each, those
// of the closest folder that has any; and the module's NOTICE.
func (m *Module) Notices() ([]Notice, error) {
	files := map[string]bool{}
	for _, pkg := range m.packages {
		for dir := pkg; ; dir = filepath.Dir(dir) {
			found, err := licencesIn(dir)
			if err != nil {
				return nil, err
			}
			for _, file := range found {
				files[file] = true
			}
			if len(found) > 0 || dir == m.Dir || len(dir) < len(m.Dir) {
				break
			}
		}
	}
	for _, name := range []string{"NOTICE", "NOTICE.txt", "NOTICE.md"} {
		if _, err := os.Stat(filepath.Join(m.Dir, name)); err == nil {
			files[filepath.Join(m.Dir, name)] = true
		}
	}
	var notices []Notice
	for file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		relative, err := filepath.Rel(m.Dir, file)
		if err != nil {
			return nil, err
		}
		notices = append(notices, Notice{File: filepath.ToSlash(relative), Text: text})
	}
	slices.SortFunc(notices, func(a, b Notice) int { return strings.Compare(a.File, b.File) })
	return notices, nil
}

// licencesIn are the files of a folder that are named as licences are.
func licencesIn(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		stem, extension, _ := strings.Cut(strings.ToUpper(e.Name()), ".")
		switch {
		case e.IsDir(), extension == "GO", extension == "JSON":
		case strings.HasPrefix(stem, "LICENSE"), strings.HasPrefix(stem, "LICENCE"), stem == "COPYING", stem == "UNLICENSE":
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}
