package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"triptych.dev/triptych/test/harness"
)

// block is one fenced block of a page.
type block struct {
	page string // seen from the root
	line int    // of the fence
	lang string
	text string // with a newline at its end

	notRun     string // why, "" if it is run
	exit       int
	foreground bool
	before     string
}

func (b block) String() string { return fmt.Sprintf("%s:%d", b.page, b.line) }

// page is a document: its blocks, and the lines outside of them.
type page struct {
	name   string
	blocks []block
	prose  []string
}

var directive = regexp.MustCompile(`^<!-- (not run|exits with|stays in the foreground|before):? ?(.*?) ?-->$`)

// readPage returns an error that names the line if a fence is not closed or a comment is not understood.
func readPage(name string) (page, error) {
	p := page{name: name}
	content, err := os.ReadFile(filepath.Join(harness.Root(), name))
	if err != nil {
		return p, err
	}
	next, open := block{page: name}, false
	for i, line := range strings.Split(string(content), "\n") {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && !open:
			next.line, next.lang, open = i+1, strings.TrimPrefix(strings.TrimSpace(line), "```"), true
		case fence:
			p.blocks = append(p.blocks, next)
			next, open = block{page: name}, false
		case open:
			next.text += line + "\n"
		case directive.MatchString(line):
			if err := next.told(directive.FindStringSubmatch(line)); err != nil {
				return p, fmt.Errorf("%s:%d: %w", name, i+1, err)
			}
		default:
			if next.notRun != "" || next.exit != 0 || next.foreground || next.before != "" {
				return p, fmt.Errorf("%s:%d: no block follows the comment", name, i+1)
			}
			p.prose = append(p.prose, line)
		}
	}
	if open {
		return p, fmt.Errorf("%s: the last block does not end", name)
	}
	return p, nil
}

// told takes in what a comment says of the block that follows.
func (b *block) told(words []string) (err error) {
	switch words[1] {
	case "not run":
		b.notRun = words[2]
		if b.notRun == "" {
			err = fmt.Errorf("why is it not run?")
		}
	case "exits with":
		b.exit, err = strconv.Atoi(words[2])
	case "stays in the foreground":
		b.foreground = true
	case "before":
		b.before = words[2]
	}
	return err
}

// tutorial are its pages in the order of reading; the last goes on where the third stops.
var tutorial = []string{
	"docs/tutorial/first-ten-minutes.md", "docs/tutorial/custom-resource.md", "docs/tutorial/when-something-is-wrong.md", "docs/tutorial/scale-and-restart.md",
}

// howTos are the pages whose commands are run on one instance after one another. What installs it comes first, what stops it last.
func howTos() ([]string, error) {
	first := []string{"docs/how-to/install-as-a-service.md", "docs/how-to/change-settings.md"}
	last := "docs/how-to/stop-and-uninstall.md"
	names, err := filepath.Glob(filepath.Join(harness.Root(), "docs/how-to/*.md"))
	ordered := first
	for _, name := range names {
		relative, _ := filepath.Rel(harness.Root(), name)
		if relative != first[0] && relative != first[1] && relative != last {
			ordered = append(ordered, relative)
		}
	}
	return append(ordered, last), err
}

func readPages(names ...string) (pages []page, err error) {
	for _, name := range names {
		p, err := readPage(name)
		if err != nil {
			return nil, err
		}
		pages = append(pages, p)
	}
	return pages, nil
}
