package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

const (
	// redrawPause is between two states of a line on a terminal, linePause between two lines
	// elsewhere.
	redrawPause = 100 * time.Millisecond
	linePause   = 5 * time.Second
)

// progress tells how long work goes on: on a terminal in one line that changes, elsewhere in
// lines now and then. end must be called before anything else is written.
type progress struct {
	to       io.Writer
	terminal bool
	unit     func(int64) string

	step  string
	began time.Time
	told  time.Time
	shown int // columns of the line on the terminal
}

func newProgress(to io.Writer) *progress {
	p := &progress{to: to, unit: func(n int64) string { return humanize.IBytes(uint64(n)) }}
	if file, ok := to.(*os.File); ok {
		p.terminal = term.IsTerminal(int(file.Fd()))
	}
	return p
}

// tell is a backup.Tell. What is done before a line is due gets none where lines stay.
func (p *progress) tell(step string, done, total int64) {
	now := time.Now()
	if step != p.step {
		p.step, p.began, p.told = step, now, now
		if p.terminal {
			p.write(p.line(done, total, 0))
		}
		return
	}
	pause := linePause
	if p.terminal {
		pause = redrawPause
	}
	if now.Sub(p.told) < pause && !(p.terminal && done >= total) {
		return
	}
	p.told = now
	p.write(p.line(done, total, now.Sub(p.began)))
}

func (p *progress) line(done, total int64, since time.Duration) string {
	percent := 100.0
	if total > 0 {
		percent = 100 * float64(done) / float64(total)
	}
	line := fmt.Sprintf("%s: %s of %s, %.0f %%", p.step, p.unit(done), p.unit(total), percent)
	if since > time.Second {
		line += fmt.Sprintf(", %s/s", p.unit(int64(float64(done)/since.Seconds())))
	}
	return line
}

func (p *progress) write(line string) {
	if !p.terminal {
		fmt.Fprintln(p.to, line)
		return
	}
	fmt.Fprintf(p.to, "\r%-*s", p.shown, line)
	p.shown = max(p.shown, len(line))
}

// end takes the line away from a terminal.
func (p *progress) end() {
	if p.shown > 0 {
		fmt.Fprintf(p.to, "\r%*s\r", p.shown, "")
		p.shown = 0
	}
}
