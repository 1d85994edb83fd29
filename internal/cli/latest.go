package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/events"
)

const (
	// latestLines is how many lines of a log or events a screen lets its user look back.
	latestLines = 1000
	// latestBytes is how much of the end of a log they are searched in.
	latestBytes = 512 << 10
)

// latestEvents are lines for a screen: the events of a tier, a replica or etcd, and the phases of the whole among them.
func latestEvents(d datadir.Dir, of string) ([]string, error) {
	all, err := events.Read(d.Events())
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e events.Event) bool { return !e.Of(of) && e.Process != events.Supervisor })
	all = all[max(len(all)-latestLines, 0):]
	var lines []string
	for _, e := range all {
		who := e.Process
		if e.PID != 0 && who != events.Supervisor {
			who = fmt.Sprintf("%s[%d]", who, e.PID)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Time.Local().Format("01-02 15:04:05"), who, said(e)))
	}
	return lines, nil
}

// said is what an event tells, and why.
func said(e events.Event) string {
	is := what(e)
	switch {
	case e.Reason == "":
		return is
	case is == "":
		return e.Reason
	}
	return is + ": " + e.Reason
}

// latestLog are the last lines of the log of a tier, a replica or etcd.
func latestLog(d datadir.Dir, of string) ([]string, error) {
	name, err := logOf(of, append(children(), supervisorLog))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(d.LogFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read the log: %w", err)
	}
	from := max(info.Size()-latestBytes, 0)
	source := newLogSource(d, name, events.Replicas(d.Events()))
	source.files, source.lines = nil, bufio.NewReader(io.NewSectionReader(f, from, info.Size()-from))
	var lines []string
	for first := true; ; first = false {
		line, err := source.next()
		if err != nil {
			return nil, err
		}
		if line == nil {
			return lines[max(len(lines)-latestLines, 0):], nil
		}
		if cut := first && from > 0; !cut && (of == name || line.Replica == of) {
			lines = append(lines, line.Line)
		}
	}
}
