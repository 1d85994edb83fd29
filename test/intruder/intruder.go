// Package intruder is what an attacker does who has taken over a tier: it locks itself in as the tier would
// have, because that is done before anybody could take it over, and then tries to get out.
package intruder

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

const (
	// Prefix begins the line of a Result, Done is the last line.
	Prefix = "attempt: "
	Done   = "attempts: done"
)

// Attempt is one thing to try.
type Attempt struct {
	Name string
	// Try returns nil if it worked. An error that is errUnsure tells nothing.
	Try func(*Place) error
	// By is what refuses it without isolation too; empty for nothing.
	By string
	// Works: it is the tier's work, or what remains to who has taken it over. Unless it works, nothing that is
	// refused in the same way means anything.
	Works bool
}

// Result is what became of an attempt.
type Result struct {
	Name    string
	Refused bool
	// Why is the error by which it was refused.
	Why string
	// Unsure: it was not refused, and did not work either.
	Unsure bool `json:",omitempty"`
}

// String is for tables.
func (r Result) String() string {
	switch {
	case r.Name == "":
		return "-"
	case !r.Refused:
		return "**works**"
	}
	return "refused"
}

// Place is where the attacker is.
type Place struct {
	// Tier is what was taken over.
	Tier tier.Name
	// Dir is the data directory of the supervisor, Wiring the process' own wiring.
	Dir, Wiring string
	// is what the wiring says.
	is *wiring.Wiring
	// Victims are processes of the other tiers, of etcd and of the supervisor.
	Victims []int
}

// errNobody: there is nobody to attack, as far as can be seen.
var errNobody = errors.New("nobody is seen")

// Main attacks and does not return, if this program was started in place of a tier.
func Main() {
	name := tier.Name(filepath.Base(os.Args[0]))
	if !slices.Contains(tier.Order, name) {
		return
	}
	path := argument("wiring")
	// Wherever the copy is, the data directory is three above it.
	p := &Place{Tier: name, Wiring: path, Dir: filepath.Dir(filepath.Dir(filepath.Dir(path)))}
	stopped, is, err := process.Start(name, path, pflag.NewFlagSet("", pflag.ContinueOnError), "")
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(process.ExitConfiguration)
	}
	p.is = is.Wiring
	switch argument("v") {
	case Threads:
		takeThreads()
	case Memory:
		takeMemory()
	}
	p.Victims = victims()
	for _, attempt := range Attempts(name) {
		result := Result{Name: attempt.Name}
		if err := try(attempt, p); err != nil {
			result.Refused, result.Why, result.Unsure = true, short(err), errors.Is(err, errUnsure)
		}
		line, _ := json.Marshal(result)
		fmt.Println(Prefix + string(line))
	}
	fmt.Println(Done)
	<-stopped.Done()
	os.Exit(0)
}

// argument is the value of the last flag of that name that the process was started with, or nothing.
func argument(name string) (value string) {
	for _, arg := range os.Args[1:] {
		if is, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			value = is
		}
	}
	return value
}

// Threads and Memory are the --v by which the attacker does nothing but to take those, until it dies of that.
const Threads, Memory = "9", "8"

// takeMemory never returns.
func takeMemory() {
	var all [][]byte
	for n := 1; ; n++ {
		piece := make([]byte, 16<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		all = append(all, piece)
		fmt.Println("MiB:", 16*len(all))
	}
}

// takeThreads never returns: as many goroutines as threads are wanted hold one each.
func takeThreads() {
	ends := make([]int, 2)
	if err := unix.Pipe2(ends, unix.O_CLOEXEC); err != nil {
		panic(err)
	}
	block := ends[0]
	for n := 1; ; n++ {
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(started)
			_, _ = unix.Read(block, make([]byte, 1)) // in the kernel, so that the runtime needs another thread
		}()
		<-started
		fmt.Println("threads:", n)
	}
}

// try counts a panic as a refusal: a call that cannot be made at all.
func try(attempt Attempt, p *Place) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return attempt.Try(p)
}

// short is the name of the kernel's error, which is the same on every machine.
func short(err error) string {
	var number syscall.Errno
	if errors.As(err, &number) && !errors.Is(err, errUnsure) {
		return number.Error()
	}
	return err.Error()
}

// victims tries the numbers around its own: procfs may not show them.
func victims() []int {
	var found []int
	own, parent := os.Getpid(), os.Getppid()
	for pid := parent; pid < own+50; pid++ {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", pid)); err == nil {
			continue // it is a thread of its own
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil || errors.Is(err, os.ErrPermission) {
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		found = []int{parent}
	}
	return found
}
