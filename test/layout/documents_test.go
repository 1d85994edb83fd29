package layout

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// document is one Markdown file of the project.
type document struct {
	name  string // seen from the root
	prose string // without blocks of code and comments
}

var (
	codeBlock  = regexp.MustCompile("(?ms)^ *```.*?^ *```[^\n]*$")
	commented  = regexp.MustCompile(`(?s)<!--.*?-->`)
	inlineCode = regexp.MustCompile("`[^`\n]*`")
	linked     = regexp.MustCompile(`\]\(([^)\s]*)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	label      = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// documents are all Markdown files, but for what is built and what runs.
func documents(t *testing.T) []document {
	t.Helper()
	var all []document
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		relative, _ := filepath.Rel(root, name)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"bin", "dist", "run", ".git"}, relative):
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		content, err := os.ReadFile(name)
		prose := commented.ReplaceAllString(codeBlock.ReplaceAllString(string(content), ""), "")
		all = append(all, document{relative, prose})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// anchors are what headings of the document can be linked by, as GitHub makes them.
func (d document) anchors() map[string]bool {
	all := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(d.prose, -1) {
		text := label.ReplaceAllString(match[1], "$1")
		slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		anchor := slug
		for n := 1; all[anchor]; n++ {
			anchor = fmt.Sprintf("%s-%d", slug, n)
		}
		all[anchor] = true
	}
	return all
}

// links are the targets of the document's links.
func (d document) links() []string {
	var all []string
	for _, match := range linked.FindAllStringSubmatch(inlineCode.ReplaceAllString(d.prose, "``"), -1) {
		all = append(all, match[1])
	}
	return all
}

// Links lead to files that are there, and to headings that these have.
func TestNoLinkIsBroken(t *testing.T) {
	all := documents(t)
	if len(all) < 50 {
		t.Errorf("found only %d documents", len(all))
	}
	anchors := map[string]map[string]bool{}
	for _, d := range all {
		anchors[d.name] = d.anchors()
	}
	for _, d := range all {
		for _, link := range d.links() {
			if link == "" {
				t.Errorf("%s has a link to nowhere", d.name)
			}
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := d.name
			if file != "" {
				target = filepath.Join(filepath.Dir(d.name), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s: %v", d.name, link, err)
			} else if anchor != "" && !anchors[target][anchor] {
				t.Errorf("%s links to %s, but %s has no such heading", d.name, link, target)
			}
		}
	}
}

// What git leaves of two versions that do not go together is settled.
func TestNoConflictIsLeft(t *testing.T) {
	conflict := regexp.MustCompile(`(?m)^(<{7}|>{7}|\|{7}) `)
	for _, d := range documents(t) {
		if found := conflict.FindString(d.prose); found != "" {
			t.Errorf("%s has %q", d.name, found)
		}
	}
}

// Every page of docs/ is in its index, but decisions, which their folder lists.
func TestEveryPageIsInTheIndex(t *testing.T) {
	const index = "docs/README.md"
	all := documents(t)
	listed := map[string]bool{index: true}
	for _, d := range all {
		if d.name == index {
			for _, link := range d.links() {
				file, _, _ := strings.Cut(link, "#")
				listed[filepath.Join("docs", file)] = true
			}
		}
	}
	for _, d := range all {
		if strings.HasPrefix(d.name, "docs/") && !strings.HasPrefix(d.name, "docs/adr/") && !listed[d.name] {
			t.Errorf("%s is not in %s", d.name, index)
		}
	}
}
