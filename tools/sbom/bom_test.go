package main

import (
	"debug/buildinfo"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"triptych.dev/triptych/tools/linked"
)

const root = "../.."

// The bill of the programs in bin/, which `make test` has built.
func TestTheBillIsOfThePrograms(t *testing.T) {
	s := source{bin: filepath.Join(root, "bin"), root: root, version: "1.2.3", time: time.Unix(1e9, 0)}
	first, err := bill(s)
	if err != nil {
		t.Fatal(err)
	}
	second, err := bill(s)
	if err != nil {
		t.Fatal(err)
	}
	a, b := encode(t, first), encode(t, second)
	if a != b {
		t.Error("two bills of the same programs differ")
	}
	read := cdx.NewBOM()
	if err := cdx.NewBOMDecoder(strings.NewReader(a), cdx.BOMFileFormatJSON).Decode(read); err != nil {
		t.Fatal(err)
	}
	components := map[string]cdx.Component{}
	for _, c := range *read.Components {
		if c.BOMRef == "" || components[c.BOMRef].BOMRef != "" {
			t.Errorf("%q is in it twice, or has no name", c.BOMRef)
		}
		components[c.BOMRef] = c
	}
	for _, program := range linked.Files {
		ref := "triptych@1.2.3#" + program
		if c := components[ref]; c.Hashes == nil || len((*c.Hashes)[0].Value) != 64 {
			t.Errorf("%s: %+v", ref, c)
		}
		var of []string
		for _, d := range *read.Dependencies {
			if d.Ref == ref {
				of = *d.Dependencies
			}
		}
		info, err := buildinfo.ReadFile(filepath.Join(root, "bin", program))
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			ref := "pkg:golang/" + dep.Path + "@" + dep.Version
			c := components[ref]
			if !slices.Contains(of, ref) || c.Licenses == nil || len(*c.Licenses) == 0 || c.Hashes == nil {
				t.Errorf("%s links %s: %+v", program, ref, c)
			}
		}
	}
}

func encode(t *testing.T, bom *cdx.BOM) string {
	t.Helper()
	data, err := json.Marshal(bom)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
