package layout

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goFiles calls visit with every Go file of the project, its path seen from the
// root.
func goFiles(t *testing.T, visit func(name string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(root, name)
		if entry.IsDir() && (relative == "bin" || relative == "run" || relative == ".git") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err == nil {
			visit(relative, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func generated(content []byte) bool {
	file, err := parser.ParseFile(token.NewFileSet(), "", content, parser.PackageClauseOnly|parser.ParseComments)
	return err == nil && ast.IsGenerated(file)
}

func TestFilesStaySmall(t *testing.T) {
	goFiles(t, func(name string, content []byte) {
		lines := bytes.Count(content, []byte("\n"))
		if lines > maxFileLines && !generated(content) {
			t.Errorf("%s has %d lines, more than %d: it answers more than one question", name, lines, maxFileLines)
		}
		if strings.HasPrefix(name, "cmd/") && filepath.Base(name) == "main.go" && lines >= maxMainLines {
			t.Errorf("%s has %d lines, not less than %d: the rest belongs below internal", name, lines, maxMainLines)
		}
	})
}

func TestFilesAreFormatted(t *testing.T) {
	goFiles(t, func(name string, content []byte) {
		if formatted, err := format.Source(content); err != nil || !bytes.Equal(formatted, content) {
			t.Errorf("%s is not gofmt-ed (%v)", name, err)
		}
	})
}

// A test that is skipped holds nothing, and nobody notices.
func TestNoTestIsSkipped(t *testing.T) {
	goFiles(t, func(name string, content []byte) {
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, content, 0)
		if err != nil {
			t.Error(err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(call.Sel.Name, "Skip") {
				if x, ok := call.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "tb" || x.Name == "b") {
					t.Errorf("%s skips a test", name)
				}
			}
			return true
		})
	})
}
