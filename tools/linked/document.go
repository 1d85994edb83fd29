package linked

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const head = `# Licences

What the programs are linked from, for amd64 and arm64, with the licences of the packages that are. ` + "`make licences`" + ` writes this list, and a
test compares. Nothing that is copyleft is linked, and no licence that nobody has read, but for what is judged at the end. Packages and
images carry the texts in ` + "`/usr/share/doc/triptych/licences.txt`" + `.

| module | version | licences | linked into |
|---|---|---|---|
`

// List is docs/reference/licences.md.
func List(modules []*Module) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(head)
	b.WriteString("| Go's standard library | | BSD-3-Clause | all |\n")
	for _, m := range modules {
		licences, err := m.Licences()
		if err != nil {
			return nil, err
		}
		programs := strings.Join(m.Programs, ", ")
		if len(m.Programs) == len(Programs) {
			programs = "all"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", m.Path, m.Version, strings.Join(licences, ", "), programs)
	}
	b.WriteString("\n## Judged\n\n")
	for _, m := range modules {
		licences, err := m.Licences()
		if err != nil {
			return nil, err
		}
		if why := Judged(m.Path, licences); why != "" {
			fmt.Fprintf(&b, "- %s: %s.\n", m.Path, why)
		}
	}
	return b.Bytes(), nil
}

// Texts are all notices, those of Go first. Equal modules give equal bytes.
func Texts(modules []*Module) ([]byte, error) {
	var b bytes.Buffer
	section := func(title string, text []byte) {
		fmt.Fprintf(&b, "%s\n%s\n\n%s\n\n", title, strings.Repeat("=", len(title)), bytes.TrimSpace(text))
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find Go: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(goroot)), "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the licence of Go: %w", err)
	}
	section("Go's standard library, "+runtime.Version(), text)
	for _, m := range modules {
		notices, err := m.Notices()
		if err != nil {
			return nil, err
		}
		for _, n := range notices {
			section(fmt.Sprintf("%s %s, %s", m.Path, m.Version, n.File), n.Text)
		}
	}
	return b.Bytes(), nil
}

// Check tells of all modules that must not be linked.
func Check(modules []*Module) error {
	var errs []error
	for _, m := range modules {
		licences, err := m.Licences()
		if err != nil {
			return err
		}
		if why := Forbidden(m.Path, licences); why != "" {
			errs = append(errs, fmt.Errorf("%s %s must not be linked: %s", m.Path, m.Version, why))
		}
	}
	return errors.Join(errs...)
}
