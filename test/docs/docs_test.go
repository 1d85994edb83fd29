package docs

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// update has TestTutorialWorks write the transcript.
var update = flag.Bool("update", false, "write docs/tutorial/transcript.md")

func TestMain(m *testing.M) {
	flag.Parse()
	harness.Main(m)
}

// run plays pages, tells how long each block took, and fails at the first that fails.
func run(t *testing.T, names ...string) []said {
	t.Helper()
	all, err := play(t.Context(), harness.TempDir(t), harness.Must(readPages(names...))(t))
	for _, s := range all {
		t.Logf("%-50s %6.1f s", s.block, s.took.Seconds())
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTutorialWorks(t *testing.T) {
	t.Parallel()
	all := run(t, tutorial...)
	if *update {
		harness.WriteFile(t, filepath.Join(harness.Root(), transcript), []byte(written(all)), 0o644)
	}
}

func TestHowTosWork(t *testing.T) {
	t.Parallel()
	run(t, harness.Must(howTos())(t)...)
}

func TestReadmeWorks(t *testing.T) {
	t.Parallel()
	run(t, "README.md")
}

// checked are the pages whose blocks are run: each says what is no command, and why a command is not run.
func checked(t *testing.T) []page {
	t.Helper()
	names := append([]string{"README.md"}, tutorial...)
	pages := harness.Must(readPages(append(names, harness.Must(howTos())(t)...)...))(t)
	all := harness.Must(filepath.Glob(filepath.Join(harness.Root(), "docs", "tutorial", "*.md")))(t)
	if len(all) != len(tutorial)+1 {
		t.Errorf("a page of the tutorial is not run: %v", all)
	}
	return pages
}

func TestBlocksAreCommandsOfAShellOrSayWhatTheyAre(t *testing.T) {
	indented := regexp.MustCompile(`^ {4}\S`)
	ran := 0
	for _, p := range checked(t) {
		for i, line := range p.prose {
			if indented.MatchString(line) && i > 0 && p.prose[i-1] == "" {
				t.Errorf("%s: fence this block, so that it is run: %s", p.name, line)
			}
		}
		for _, b := range p.blocks {
			switch b.lang {
			case "sh":
				cmd := exec.CommandContext(t.Context(), "bash", "-n")
				cmd.Stdin = strings.NewReader(b.text)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", b, err, out)
				}
				if b.notRun == "" {
					ran++
				}
			case "yaml", "text", "json":
			default:
				t.Errorf("%s: what is %q?", b, b.lang)
			}
		}
	}
	if ran < 50 {
		t.Errorf("only %d blocks are run", ran)
	}
}

// words that follow a program in any document, in blocks and sentences.
func after(t *testing.T, program string) map[string]string {
	t.Helper()
	found := map[string]string{}
	call := regexp.MustCompile("(?m)(?:^ *|`|&& |[$][(]|; |do )(?:bin/)?" + program + "((?: +-[^ \n`]+(?:=[^ \n`]+| +[^- \n`][^ \n`]*)?)*) +([a-z][a-z-]*)")
	out, err := exec.CommandContext(t.Context(), "git", "-C", harness.Root(), "ls-files", "*.md").Output()
	for _, name := range strings.Fields(string(harness.Must(out, err)(t))) {
		content := harness.Must(os.ReadFile(filepath.Join(harness.Root(), name)))(t)
		for _, match := range call.FindAllStringSubmatch(string(content), -1) {
			found[match[2]] = name
		}
	}
	return found
}

func TestDocumentsNameTargetsThatThereAre(t *testing.T) {
	makefile := string(harness.Must(os.ReadFile(filepath.Join(harness.Root(), "Makefile")))(t))
	found := after(t, "make")
	for target, name := range found {
		if !regexp.MustCompile(`(?m)^(?:[a-z-]+ )*` + target + `(?: [a-z-]+)*:`).MatchString(makefile) {
			t.Errorf("%s: make has no target %s", name, target)
		}
	}
	if len(found) < 20 {
		t.Errorf("found only %v", found)
	}
}

func TestDocumentsNameVerbsOfKubectl(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), harness.Bin("kubectl"), "--help").Output()
	verbs := string(harness.Must(help, err)(t))
	found := after(t, "kubectl")
	for verb, name := range found {
		if !regexp.MustCompile(`(?m)^  ` + verb + ` `).MatchString(verbs) {
			t.Errorf("%s: kubectl has no verb %s", name, verb)
		}
	}
	if len(found) < 5 {
		t.Errorf("found only %v", found)
	}
}

// The transcript is of the tutorial as it is now: what is typed is the same.
func TestTheTranscriptIsOfTheTutorial(t *testing.T) {
	content := string(harness.Must(os.ReadFile(filepath.Join(harness.Root(), transcript)))(t))
	for _, p := range harness.Must(readPages(tutorial...))(t) {
		for _, b := range p.blocks {
			if b.lang != "sh" || b.notRun != "" {
				continue
			}
			for _, line := range strings.Split(strings.TrimSuffix(b.text, "\n"), "\n") {
				if !strings.Contains(content, "\n$ "+line+"\n") && !strings.Contains(content, "\n> "+line+"\n") {
					t.Errorf("%s: %q is not in %s: run make transcript", b, line, transcript)
				}
			}
		}
	}
}
