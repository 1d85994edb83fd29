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
