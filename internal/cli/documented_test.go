package cli

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	fenced      = regexp.MustCompile("(?ms)^ *```[^\n]*\n(.*?)^ *```")
	indented    = regexp.MustCompile(`(?m)^ {4}.*$`)
	inlineCode  = regexp.MustCompile("`([^`\n]+)`")
	placeholder = regexp.MustCompile(`[A-Z]{2,}|^[A-Z]$|\.\.\.|\||\$`)
)

// spoken are the pieces of a document that may be commands: its blocks, and code
// in its sentences.
func spoken(content string) (all []string) {
	for _, block := range fenced.FindAllStringSubmatch(content, -1) {
		all = append(all, strings.Split(strings.ReplaceAll(block[1], "\\\n", " "), "\n")...)
	}
	content = fenced.ReplaceAllString(content, "")
	for _, code := range inlineCode.FindAllStringSubmatch(content, -1) {
		all = append(all, strings.ReplaceAll(code[1], `\|`, "|"))
	}
	return append(all, indented.FindAllString(strings.ReplaceAll(content, "\\\n", " "), -1)...)
}

// commandsOf splits a line of a shell in its commands, and these in words. Brackets around
// what may be left out are dropped.
func commandsOf(line string) (commands [][]string) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	runes := []rune(line)
	for i, r := range runes {
		next := i+1 < len(runes) && runes[i+1] != ' '
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			endWord()
		case r == '#' && !inWord:
			endCommand()
			return commands
		case strings.ContainsRune(";&()<>", r), r == '|' && !(inWord && next):
			endCommand()
		case r == '[' || r == ']':
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	endCommand()
	return commands
}

// alternatives of "config show|diff FILE" are "config show FILE" and "config diff FILE".
func alternatives(words []string) [][]string {
	i := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, "|") && !strings.HasPrefix(w, "-") })
	if i < 0 || i > 0 && strings.HasPrefix(words[i-1], "-") {
		return [][]string{words}
	}
	var all [][]string
	for _, choice := range strings.Split(words[i], "|") {
		one := slices.Clone(words)
		one[i] = choice
		all = append(all, alternatives(one)...)
	}
	return all
}

// understood returns an error if the supervisor would not understand these words.
func understood(words []string) error {
	cmd, rest, err := (&command{stdout: io.Discard, stderr: io.Discard}).root().Find(words)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if !strings.HasPrefix(word, "-") || name == "" {
			if cmd.HasSubCommands() && !placeholder.MatchString(word) {
				return fmt.Errorf("%s has no command %q", cmd.CommandPath(), word)
			}
			continue
		}
		flag := flagOf(cmd, word, name)
		if flag == nil {
			return fmt.Errorf("%s has no flag %q", cmd.CommandPath(), word)
		}
		if !given && flag.NoOptDefVal == "" && i+1 < len(rest) {
			i++
			value, given = rest[i], true
		}
		if given && !placeholder.MatchString(value) {
			if err := flag.Value.Set(value); err != nil {
				return fmt.Errorf("%s %s: %w", cmd.CommandPath(), word, err)
			}
		}
	}
	return nil
}

func flagOf(cmd *cobra.Command, word, name string) *pflag.Flag {
	for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.InheritedFlags()} {
		if strings.HasPrefix(word, "--") {
			if flag := set.Lookup(name); flag != nil {
				return flag
			}
		} else if flag := set.ShorthandLookup(name[:1]); flag != nil {
			return flag
		}
	}
	return nil
}

// Commands that documents name, with their flags, are those that there are.
func TestDocumentsNameCommandsThatThereAre(t *testing.T) {
	const root = "../.."
	found := 0
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{"bin", "dist", "run", ".git"}, entry.Name()) && filepath.Dir(name) == root {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if strings.Contains(string(content), "DO NOT EDIT") {
			return nil // what commands say, not what people are told
		}
		for _, line := range spoken(string(content)) {
			for _, words := range commandsOf(line) {
				for len(words) > 0 && (words[0] == "sudo" || words[0] == "$" || words[0] == "exec" || strings.Contains(words[0], "=")) {
					words = words[1:]
				}
				if len(words) < 2 || path.Base(words[0]) != "supervisor" || strings.Contains(words[0], "triptych/supervisor") {
					continue
				}
				for _, alternative := range alternatives(words[1:]) {
					found++
					if err := understood(alternative); err != nil {
						t.Errorf("%s: %q: %v", name, strings.TrimSpace(line), err)
					}
				}
			}
		}
		return nil
	})
	if err != nil || found < 200 {
		t.Errorf("found %d commands of the supervisor: %v", found, err)
	}
}

// What is wrong is found, and what is right is not.
func TestMistakenCommandsAreFound(t *testing.T) {
	for line, right := range map[string]bool{
		"supervisor run --data-dir DIR [--secure-port 0]":            true,
		"supervisor run --max-requests-inflight=5 --v 4":             true,
		"supervisor run --data-dri DIR":                              false,
		"supervisor run --secure-port many":                          false,
		"supervisor snapshot save|verify|restore FILE":               true,
		"supervisor snapshot save|verfiy FILE":                       false,
		"supervisor snapshot keep FILE":                              false,
		"supervisor statsu":                                          false,
		"supervisor logs -f -o json | grep x # --and what follows":   true,
		"supervisor logs -x":                                         false,
		"A=b supervisor health --wait --timeout 5m && other --flags": true,
		"supervisor health --timeout 5":                              false,
	} {
		err := error(nil)
		for _, words := range commandsOf(line) {
			if i := slices.Index(words, "supervisor"); i >= 0 {
				for _, alternative := range alternatives(words[i+1:]) {
					if failed := understood(alternative); failed != nil {
						err = failed
					}
				}
			}
		}
		if (err == nil) != right {
			t.Errorf("%q: %v", line, err)
		}
	}
}
