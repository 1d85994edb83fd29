package dashboard

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/logline"
	"triptych.dev/triptych/internal/supportbundle"
)

const (
	tail      = 128 << 10 // how much of the end of each log is read
	most      = 300       // how many lines and events are shown
	longest   = 200       // of a pattern
	knownFor  = 30 * time.Second
	endOfAKey = "PRIVATE KEY-----"
)

// records reads events and logs, without secrets.
type records struct {
	dir  datadir.Dir
	logs []string

	mu       sync.Mutex
	redactor *supportbundle.Redactor
	known    time.Time
	read     map[string]ending
	recorded recording
}

// recording is the events as they were read.
type recording struct {
	size     int64
	at       time.Time
	last     []events.Event
	replicas map[int]string
}

// ending is the end of a log as it was read.
type ending struct {
	size  int64
	at    time.Time
	lines []logline.Line
}

func newRecords(dir datadir.Dir, logs []string) *records {
	return &records{dir: dir, logs: logs, read: map[string]ending{}}
}

// redact takes secrets out, by the keys that there are now.
func (r *records) redact(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.redactLocked(text)
}

func (r *records) redactLocked(text string) string {
	if r.redactor == nil || time.Since(r.known) > knownFor {
		r.redactor, r.known = supportbundle.RedactorOf(r.dir), time.Now()
	}
	return string(r.redactor.Redact([]byte(text)))
}

// redactAll does so with each text in a decoded document.
func (r *records) redactAll(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			value[name] = r.redactAll(field)
		}
	case []any:
		for i, field := range value {
			value[i] = r.redactAll(field)
		}
	case string:
		return r.redact(value)
	}
	return value
}

// events are the last ones, the newest first.
func (r *records) events() ([]events.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.recall()
	return r.recorded.last, err
}

// recall reads the events again if there are others.
func (r *records) recall() error {
	info, err := os.Stat(r.dir.Events())
	if errors.Is(err, fs.ErrNotExist) {
		r.recorded = recording{last: []events.Event{}}
		return nil
	}
	if err != nil {
		return err
	}
	is := recording{size: info.Size(), at: info.ModTime()}
	if r.recorded.size == is.size && r.recorded.at.Equal(is.at) {
		return nil
	}
	all, err := events.Read(r.dir.Events())
	if err != nil {
		return err
	}
	is.replicas, is.last = events.ReplicasIn(all), slices.Clone(all[max(0, len(all)-most):])
	slices.Reverse(is.last)
	for i := range is.last {
		is.last[i].Reason = r.redactLocked(is.last[i].Reason)
	}
	r.recorded = is
	return nil
}

// lines are the last ones of a tier or replica, or of all, that a pattern fits. It is compared with what is shown: who
// looks for a secret learns nothing by finding it.
func (r *records) lines(of, pattern string) ([]logline.Line, error) {
	if len(pattern) > longest {
		return nil, fmt.Errorf("the pattern has more than %d bytes", longest)
	}
	fits, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	all := []logline.Line{}
	for _, name := range r.logs {
		if of != "" && of != name && !strings.HasPrefix(of, name+"-") {
			continue
		}
		read, err := r.end(name)
		if err != nil {
			return nil, err
		}
		for _, l := range read {
			if (of == "" || of == l.Tier || of == l.Replica) && fits.MatchString(l.Line) {
				all = append(all, l)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b logline.Line) int { return a.Time.Compare(b.Time) })
	return all[max(0, len(all)-most):], nil
}

// end is the end of a log, read again if it has changed.
func (r *records) end(name string) ([]logline.Line, error) {
	f, err := os.Open(r.dir.LogFile(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // that process never ran
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.read[name]; ok && was.size == info.Size() && was.at.Equal(info.ModTime()) {
		return was.lines, nil
	}
	skipped := max(0, info.Size()-tail)
	data, err := io.ReadAll(io.NewSectionReader(f, skipped, tail))
	if err != nil {
		return nil, err
	}
	text := string(data)
	if skipped > 0 {
		_, text, _ = strings.Cut(text, "\n")
		// Of a key that began before nothing is shown.
		if end := strings.Index(text, "-----END "); end >= 0 && !strings.Contains(text[:end], "-----BEGIN ") && strings.Contains(text[end:], endOfAKey) {
			text = text[end+strings.Index(text[end:], endOfAKey)+len(endOfAKey):]
		}
	}
	_ = r.recall() // without, lines have the names of their tiers
	labels, now := logline.NewLabeler(name, r.recorded.replicas), time.Now()
	is := ending{size: info.Size(), at: info.ModTime()}
	for line := range strings.Lines(r.redactLocked(text)) {
		is.lines = append(is.lines, labels.Label(strings.TrimRight(line, "\r\n"), now))
	}
	r.read[name] = is
	return is.lines, nil
}
