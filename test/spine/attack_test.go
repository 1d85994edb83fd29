package spine

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/internal/supervisor/security"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
	"triptych.dev/triptych/test/intruder"
)

// siege is what became of all attempts of one tier, by their names.
type siege map[string]intruder.Result

// besieged runs a control plane in which one tier after another is a program of an attacker's: this test's own binary, which
// locks itself in as the real one does, and then tries everything while the others serve.
func besieged(t *testing.T, args ...string) map[tier.Name]siege {
	t.Helper()
	programs, self := harness.PrivateBinDir(t), harness.Must(os.Executable())(t)
	for _, name := range tier.Order {
		args = append(args, fmt.Sprintf("--memory-limit=%s=1Gi", name), fmt.Sprintf("--pids-limit=%s=256", name))
	}
	c := harness.Run(t, harness.Options{BinDir: programs.Dir, Args: args})
	c.Kubectl(t, "create", "serviceaccount", intruder.Account)
	results := map[tier.Name]siege{}
	for _, name := range tier.Order {
		programs.Replace(t, string(name), self)
		replaced(t, c, name)
		harness.Eventually(t, harness.StartBound, "the attacker has tried everything as "+string(name), func() error {
			content, err := os.ReadFile(c.Path("log", string(name)+".log"))
			if err == nil && !strings.Contains(string(content), intruder.Done) {
				err = fmt.Errorf("%s", content[max(0, len(content)-200):])
			}
			return err
		})
		results[name] = confessed(t, c, name)
		programs.Mend(t, string(name))
		replaced(t, c, name)
		c.WaitReady(t)
	}
	return results
}

// replaced kills the process of a tier and waits for the next.
func replaced(t *testing.T, c *harness.Cluster, name tier.Name) {
	t.Helper()
	status, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	pid := status.Replica(string(name)).PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.WaitStatus(t, harness.StartBound, string(name)+" is another process", func(s harness.Status) bool {
		now := s.Replica(string(name)).PID
		return now != 0 && now != pid
	})
}

// confessed is what the attacker has written into its log.
func confessed(t *testing.T, c *harness.Cluster, name tier.Name) siege {
	t.Helper()
	results := siege{}
	for line := range strings.Lines(string(harness.Must(os.ReadFile(c.Path("log", string(name)+".log")))(t))) {
		if result, ok := strings.CutPrefix(line, intruder.Prefix); ok {
			var r intruder.Result
			if err := json.Unmarshal([]byte(result), &r); err != nil {
				t.Fatal(err)
			}
			results[r.Name] = r
		}
	}
	return results
}

// write has TestATierThatIsTakenOverGetsNowhere write what it has found into docs/explanation/security.md.
var write = flag.Bool("write-attempts", false, "write what an attacker has tried into docs/explanation/security.md")

// Who has taken over a tier gets nowhere from there, and would without isolation.
func TestATierThatIsTakenOverGetsNowhere(t *testing.T) {
	t.Parallel()
	all, neither := besieged(t), besieged(t, "--user-range=off", "--sandbox=off")
	document := string(harness.Must(os.ReadFile(filepath.Join(harness.Root(), "docs", "explanation", "security.md")))(t))
	for _, name := range tier.Order {
		attempts := intruder.Attempts(name)
		refused, caught := 0, 0
		for _, attempt := range attempts {
			with, without := all[name][attempt.Name], neither[name][attempt.Name]
			switch {
			case with.Unsure || without.Unsure || with.Refused == attempt.Works || with.Name == "":
				t.Errorf("%s: %s: %s %q, unsure %v, %v", name, attempt.Name, with, with.Why, with.Unsure, without.Unsure)
			case attempt.By != "" && !without.Refused || attempt.Works && without.Refused:
				t.Errorf("%s: %s without isolation: %s %q", name, attempt.Name, without, without.Why)
			case with.Refused:
				refused++
			}
			if !without.Refused && !attempt.Works {
				caught++
			}
			if !*write && !strings.Contains(document, "| "+attempt.Name+" |") {
				t.Errorf("docs/explanation/security.md has not that it tries to %s: run this test with -write-attempts", attempt.Name)
			}
		}
		t.Logf("%s: %d attempts, %d refused, of which %d would work without isolation", name, len(attempts), refused, caught)
		// Otherwise the attempts are no good. What some kernels do not have is refused by all.
		if refused < 100 || caught < 60 {
			t.Errorf("%s: %d attempts are refused, %d of them by isolation alone", name, refused, caught)
		}
	}
	if *write {
		writeAttempts(t, all, besieged(t, "--sandbox=off"), besieged(t, "--user-range=off"), neither)
	}
}

// writeAttempts tells which defence refuses what. Tiers of which the same is true share a line.
func writeAttempts(t *testing.T, results ...map[tier.Name]siege) {
	t.Helper()
	var rows []string
	who := map[string][]string{}
	for _, name := range tier.Order {
		for _, attempt := range intruder.Attempts(name) {
			row := "| " + attempt.Name + " | %s |"
			for _, of := range results {
				row += fmt.Sprintf(" %s |", of[name][attempt.Name])
			}
			row += " " + attempt.By + " |"
			if who[row] == nil {
				rows = append(rows, row)
			}
			who[row] = append(who[row], string(name))
		}
	}
	var table strings.Builder
	table.WriteString("| who has taken over a tier tries to | in | all on | users alone | sandbox alone, as root | neither | refused anyway by |\n|---|---|---|---|---|---|---|\n")
	for _, row := range rows {
		in := strings.Join(who[row], ", ")
		if len(who[row]) == len(tier.Order) {
			in = "all"
		}
		fmt.Fprintf(&table, row+"\n", in)
	}
	if _, err := security.Between(filepath.Join(harness.Root(), "docs", "explanation", "security.md"), "attempts", table.String()); err != nil {
		t.Error(err)
	}
}

// An attacker who takes thread after thread, or all memory, is the only one who dies of it.
func TestATierHasNoMoreThanItsLimits(t *testing.T) {
	t.Parallel()
	programs := harness.PrivateBinDir(t)
	for _, name := range tier.Order {
		programs.Replace(t, string(name), harness.Must(os.Executable())(t))
	}
	// None of the three depends on another one before it dies.
	c := harness.Begin(t, harness.Options{BinDir: programs.Dir, Args: []string{
		"--pids-limit=extensions=256", "--tier-flag=extensions=v=" + intruder.Threads,
		"--pids-limit=aggregator=200", "--tier-flag=aggregator=v=" + intruder.Threads,
		"--memory-limit=core=400Mi", "--tier-flag=core=v=" + intruder.Memory,
	}})
	died := func(name, of string) {
		harness.Eventually(t, harness.StartBound, name+" has died of "+of, func() error {
			logs, err := os.ReadFile(c.Path("log", name+".log"))
			if err != nil {
				return err
			}
			status, _, err := c.Status()
			if err == nil && !strings.Contains(string(logs)+string(status.Replica(name).LastExit), of) {
				err = fmt.Errorf("its last exit is %s", status.Replica(name).LastExit)
			}
			return err
		})
	}
	died("extensions", "failed to create new OS thread")
	died("aggregator", "failed to create new OS thread")
	died("core", "it passed its memory limit of 400 MiB")
	for name, limit := range map[string]string{"extensions": "threads: 256\n", "aggregator": "threads: 200\n", "core": "MiB: 2000\n"} {
		if strings.Contains(string(harness.Must(os.ReadFile(c.Path("log", name+".log")))(t)), limit) {
			t.Errorf("%s had as much as it wanted", name)
		}
	}
}

// Core serves while extensions takes all threads that it can have.
func TestATierHasNoMoreThreadsThanItsLimit(t *testing.T) {
	t.Parallel()
	programs := harness.PrivateBinDir(t)
	programs.Replace(t, "extensions", harness.Must(os.Executable())(t))
	c := harness.Begin(t, harness.Options{BinDir: programs.Dir, Args: []string{"--pids-limit=extensions=256", "--tier-flag=extensions=v=" + intruder.Threads}})
	harness.Eventually(t, harness.StartBound, "the attacker has died", func() error {
		content, err := os.ReadFile(c.Path("log", "extensions.log"))
		if err == nil && !strings.Contains(string(content), "failed to create new OS thread") {
			err = fmt.Errorf("it lives")
		}
		return err
	})
	if content := harness.Must(os.ReadFile(c.Path("log", "extensions.log")))(t); strings.Contains(string(content), "threads: 256\n") {
		t.Error("it had as many threads as it wanted")
	}
	harness.Eventually(t, harness.StartBound, "core is ready", func() error {
		s, _, err := c.Status()
		if err == nil && s.Replica("core").Stage != "ready" {
			err = fmt.Errorf("%s", s)
		}
		return err
	})
}
