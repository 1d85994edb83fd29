package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"

	"triptych.dev/triptych/tools/linked"
)

// source is what a bill is made from.
type source struct {
	// bin is the folder of the built programs, root the checkout they were built of.
	bin, root string
	version   string
	// time is that of the commit, not of the build: equal programs have equal bills.
	time time.Time
}

// bill lists the programs and the modules that each says it was linked from.
func bill(s source) (*cdx.BOM, error) {
	modules, err := linked.Modules(s.root)
	if err != nil {
		return nil, err
	}
	licences := map[string][]string{}
	for _, m := range modules {
		if licences[m.Path+"@"+m.Version], err = m.Licences(); err != nil {
			return nil, err
		}
	}
	product := "triptych@" + s.version
	components := map[string]cdx.Component{}
	var dependencies []cdx.Dependency
	var programs []string
	for _, name := range linked.Files {
		path := filepath.Join(s.bin, name)
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read what %s is linked from: %w: build it by make build", path, err)
		}
		sum, err := sha256Of(path)
		if err != nil {
			return nil, err
		}
		ref := product + "#" + name
		programs = append(programs, ref)
		components[ref] = cdx.Component{
			BOMRef: ref, Type: cdx.ComponentTypeApplication, Name: name, Version: s.version,
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
			Properties: properties(info),
		}
		toolchain := "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")
		components[toolchain] = library(toolchain, "std", strings.TrimPrefix(info.GoVersion, "go"), "", []string{"BSD-3-Clause"})
		of := []string{toolchain}
		for _, dep := range info.Deps {
			if dep.Replace != nil {
				dep = dep.Replace
			}
			names, known := licences[dep.Path+"@"+dep.Version]
			if !known {
				return nil, fmt.Errorf("%s was linked from %s %s, which this checkout does not: build it again by make build", name, dep.Path, dep.Version)
			}
			ref := "pkg:golang/" + dep.Path + "@" + dep.Version
			components[ref] = library(ref, dep.Path, dep.Version, dep.Sum, names)
			of = append(of, ref)
		}
		slices.Sort(of)
		dependencies = append(dependencies, cdx.Dependency{Ref: ref, Dependencies: &of})
	}
	dependencies = append([]cdx.Dependency{{Ref: product, Dependencies: &programs}}, dependencies...)
	all := slices.SortedFunc(maps.Values(components), func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: s.time.UTC().Format(time.RFC3339),
		Component: &cdx.Component{BOMRef: product, Type: cdx.ComponentTypeApplication, Name: "triptych", Version: s.version, PackageURL: "pkg:golang/" + linked.Main + "@" + s.version},
	}
	bom.Components, bom.Dependencies = &all, &dependencies
	bom.SerialNumber = serial(all)
	return bom, nil
}

// library is a module. sum is what go.sum says of it: h1: and a SHA-256 in base64.
func library(ref, name, version, sum string, licences []string) cdx.Component {
	c := cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, Scope: cdx.ScopeRequired, PackageURL: ref}
	var choices cdx.Licenses
	for _, id := range licences {
		choices = append(choices, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	c.Licenses = &choices
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
	}
	return c
}

// properties are the settings of a build that change its bytes.
func properties(info *debug.BuildInfo) *[]cdx.Property {
	var all []cdx.Property
	for _, s := range info.Settings {
		if slices.Contains([]string{"GOOS", "GOARCH", "GOAMD64", "GOARM64", "CGO_ENABLED", "-trimpath", "-ldflags", "-pgo"}, s.Key) {
			all = append(all, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
		}
	}
	return &all
}

// serial is the same for the same components.
func serial(components []cdx.Component) string {
	h := sha256.New()
	for _, c := range components {
		fmt.Fprintln(h, c.BOMRef)
		if c.Hashes != nil {
			fmt.Fprintln(h, *c.Hashes)
		}
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, h.Sum(nil)).URN()
}

func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
