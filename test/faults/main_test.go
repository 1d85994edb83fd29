package faults

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

func TestMain(m *testing.M) { harness.Main(tabled{m}) }

var (
	more   = flag.Bool("more", false, "count the rounds of the runs before in, which bin/faults keeps")
	update = flag.Bool("update", false, "write tables into docs/explanation/faults.md")
)

const document = "../../docs/explanation/faults.md"

// tabled runs the tests and then prints the table of all rounds, which it also
// writes to bin/faults, with the rounds themselves, and to the document if told so.
type tabled struct{ *testing.M }

func (m tabled) Run() int {
	code := m.M.Run()
	rounds := results.all()
	if len(rounds) == 0 && !*more {
		return code
	}
	if err := keep(rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func keep(rounds []*Round) error {
	dir := filepath.Join(harness.BinDir(), "faults")
	path := filepath.Join(dir, "rounds.json")
	if *more {
		var before []*Round
		if raw, err := os.ReadFile(path); err == nil {
			if err := json.Unmarshal(raw, &before); err != nil {
				return err
			}
		}
		rounds = append(before, rounds...)
	}
	said := table(rounds)
	fmt.Print(said)
	raw, err := json.MarshalIndent(rounds, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "table.md"), []byte(said), 0o644); err != nil {
		return err
	}
	if !*update {
		return nil
	}
	_, err = section("rounds", said)
	return err
}

// section returns the part of the document between two comments that name it, after it has
// replaced it by content, unless that is empty.
func section(name, content string) (before string, err error) {
	raw, err := os.ReadFile(document)
	if err != nil {
		return "", err
	}
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	head, rest, _ := strings.Cut(string(raw), begin)
	old, tail, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("%s has no section %q", document, name)
	}
	if content == "" {
		return old, nil
	}
	return old, os.WriteFile(document, []byte(head+begin+content+end+tail), 0o644)
}
