package layout

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A guarantee is worth the test behind it.
func TestGuaranteesLinkToTestsThatExist(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\[(Test\w+)\]\(([^)]+)\)`).FindAllStringSubmatch(string(readme), -1)
	if len(links) < 20 {
		t.Errorf("found only %d guarantees", len(links))
	}
	for _, link := range links {
		content, err := os.ReadFile(filepath.Join(root, link[2]))
		if err != nil || !strings.Contains(string(content), "func "+link[1]+"(") {
			t.Errorf("%s is not in %s: %v", link[1], link[2], err)
		}
	}
}

// Documents point at files that are there.
func TestDocumentsLinkToFilesThatExist(t *testing.T) {
	documents, _ := filepath.Glob(filepath.Join(root, "*.md"))
	more, _ := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	for _, document := range append(documents, more...) {
		content, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(content), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(document), link[1])); err != nil {
				t.Errorf("%s links to %s: %v", document, link[1], err)
			}
		}
	}
}
