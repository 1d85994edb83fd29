package linked

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/licenseclassifier/v2/assets"
)

const root = "../.."

// Whoever adds a module learns of its licence from this test.
func TestLicencesAreListedAndAllowed(t *testing.T) {
	modules, err := Modules(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 50 {
		t.Errorf("only %d modules are linked", len(modules))
	}
	if err := Check(modules); err != nil {
		t.Error(err)
	}
	want, err := List(modules)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, "docs", "reference", "licences.md"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/reference/licences.md is out of date: run make licences (%v)", err)
	}
	for _, m := range modules {
		notices, err := m.Notices()
		if err != nil || len(notices) == 0 {
			t.Errorf("%s has no licence to hand on (%v)", m.Path, err)
		}
	}
}

func TestForbidden(t *testing.T) {
	for name, tc := range map[string]struct {
		module   string
		licences string
		want     string
	}{
		"permissive":          {"example.com/m", "Apache-2.0, MIT", ""},
		"none":                {"example.com/m", "", "no licence"},
		"copyleft":            {"example.com/m", "GPL-3.0", "copyleft"},
		"weakly":              {"example.com/m", "MPL-2.0", "copyleft"},
		"network":             {"example.com/m", "AGPL-3.0", "copyleft"},
		"unknown":             {"example.com/m", "JSON", "read it"},
		"judged":              {"kernel.org/pub/linux/libs/security/libcap/psx", "BSD-3-Clause, GPL-2.0", ""},
		"judged, and changed": {"kernel.org/pub/linux/libs/security/libcap/psx", "GPL-2.0", "copyleft"},
	} {
		t.Run(name, func(t *testing.T) {
			var licences []string
			if tc.licences != "" {
				licences = strings.Split(tc.licences, ", ")
			}
			got := Forbidden(tc.module, licences)
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("%q", got)
			}
		})
	}
}

// The texts themselves are told apart, not only their names.
func TestCopyleftIsRecognized(t *testing.T) {
	for file, want := range map[string]string{"License/GPL-3.0/license.txt": "GPL-3.0", "License/AGPL-3.0/license.txt": "AGPL-3.0", "License/MPL-2.0/license.txt": "MPL-2.0", "License/MIT/pristine.txt": "MIT"} {
		text, err := assets.ReadLicenseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Licences(text)
		if err != nil || strings.Join(got, ",") != want {
			t.Errorf("%s is taken for %q (%v)", file, got, err)
		}
	}
}
