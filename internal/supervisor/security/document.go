package security

//go:generate go run ./generate

import (
	"fmt"
	"os"
	"strings"
)

// Between replaces what stands in the document at path between the lines that name the part. It leaves the
// file alone if that is so already, and tells.
func Between(path, part, content string) (changed bool, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	begin, end := fmt.Sprintf("<!-- %s: begin -->\n", part), fmt.Sprintf("<!-- %s: end -->\n", part)
	before, rest, found := strings.Cut(string(data), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return false, fmt.Errorf("%s has no part %q", path, part)
	}
	next := before + begin + content + end + after
	if next == string(data) {
		return false, nil
	}
	return true, os.WriteFile(path, []byte(next), 0o644)
}
