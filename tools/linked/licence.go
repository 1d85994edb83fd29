package linked

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// allowed are the licences, by their SPDX identifiers, that what is linked may stand under.
// They ask for their text to go along, and for nothing about the code around them.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "0BSD", "Unlicense", "CC0-1.0", "Zlib"}

// copyleft are beginnings of the identifiers of licences that reach beyond the code that they
// are of, by themselves or with a condition.
var copyleft = []string{"AGPL", "GPL", "LGPL", "MPL", "EPL", "CDDL", "CPL", "EUPL", "OSL", "QPL", "SSPL", "BUSL", "CC-BY-SA", "CC-BY-NC", "CC-BY-ND", "MS-RL", "NPL", "RPL", "SISSL", "APSL", "IPL", "Sleepycat", "Watcom", "CECILL"}

var corpus = sync.OnceValues(assets.DefaultClassifier)

// Licences are the SPDX identifiers of the licences in a text, sorted.
func Licences(text []byte) ([]string, error) {
	c, err := corpus()
	if err != nil {
		return nil, fmt.Errorf("cannot read the known licences: %w", err)
	}
	var names []string
	for _, match := range c.Match(c.Normalize(text)).Matches {
		if isLicence(match) && !slices.Contains(names, match.Name) {
			names = append(names, match.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func isLicence(match *classifier.Match) bool { return match.MatchType == "License" }

// Licences are the SPDX identifiers of the licences of what is linked of the module.
func (m *Module) Licences() ([]string, error) {
	if m.licences != nil {
		return m.licences, nil
	}
	notices, err := m.Notices()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range notices {
		names, err := Licences(n.Text)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	slices.Sort(all)
	m.licences = slices.Compact(all)
	return m.licences, nil
}

// judgement is what somebody found who read the licences of a module that are not all allowed.
type judgement struct {
	// found are the licences that were read. Others are not judged by it.
	found string
	why   string
}

var judged = map[string]judgement{
	"kernel.org/pub/linux/libs/security/libcap/psx": {"BSD-3-Clause, GPL-2.0", "offered under either, and taken under BSD-3-Clause"},
	"github.com/opencontainers/go-digest":           {"Apache-2.0, CC-BY-SA-4.0", "CC-BY-SA-4.0 is of its documents, which are not linked"},
	"github.com/cyphar/filepath-securejoin":         {"BSD-3-Clause, MPL-2.0", "MPL-2.0 is of files that are linked unchanged, as kube-apiserver does; it reaches no further than them, and their source is the module of this version"},
}

// Judged says why a module may be linked though one of its licences is not allowed, or nothing.
func Judged(module string, licences []string) string {
	if j := judged[module]; j.found == strings.Join(licences, ", ") {
		return j.why
	}
	return ""
}

// Forbidden says why a module under these licences must not be linked, or nothing.
func Forbidden(module string, licences []string) string {
	if len(licences) == 0 {
		return "it has no licence that is known"
	}
	if Judged(module, licences) != "" {
		return ""
	}
	for _, name := range licences {
		if slices.ContainsFunc(copyleft, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return name + " is copyleft"
		}
		if !slices.Contains(allowed, name) {
			return name + " is neither allowed nor known as copyleft: read it, and add it to one of the lists in licence.go"
		}
	}
	return ""
}
