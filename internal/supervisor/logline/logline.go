// Package logline makes of what a process prints one JSON object a line that says
// which process it is of, for whoever asked for logs as JSON.
package logline

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"time"
)

// maxLine bounds what is kept of a line without an end.
const maxLine = 1 << 20

// Prefix is what each line begins with. The names are those of traces: a plain
// "tier" is in many lines, and means the tier that they are about.
const Prefix = `{"triptych.tier":`

// Writer passes lines on, each in one Write. It is not for concurrent use.
type Writer struct {
	to    io.Writer
	label string // the object's beginning
	line  []byte // without its end yet
}

// New returns a Writer of a process' lines.
func New(to io.Writer, tier, replica string) *Writer {
	return &Writer{to: to, label: Prefix + strconv.Quote(tier) + `,"triptych.replica":` + strconv.Quote(replica)}
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			break
		}
		w.line = append(w.line, p[:i]...)
		if err := w.Flush(); err != nil {
			return 0, err
		}
		p = p[i+1:]
	}
	if w.line = append(w.line, p...); len(w.line) > maxLine {
		return n, w.Flush()
	}
	return n, nil
}

// Flush ends a line that has no end.
func (w *Writer) Flush() error {
	line := bytes.TrimSpace(w.line)
	if w.line = w.line[:0]; len(line) == 0 {
		return nil
	}
	_, err := w.to.Write(w.object(line))
	return err
}

// object takes an object as it is, and makes one of anything else: what a process
// prints when it dies, or before it knows about formats.
func (w *Writer) object(line []byte) []byte {
	if line[0] != '{' || !json.Valid(line) {
		line, _ = json.Marshal(text{float64(time.Now().UnixMicro()) / 1000, string(line)}) // text does not fail
	}
	out := append([]byte(w.label), ',')
	if line = line[1:]; bytes.TrimSpace(line)[0] == '}' {
		out = out[:len(out)-1]
	}
	return append(append(out, line...), '\n')
}

// text has the names that klog uses.
type text struct {
	Milliseconds float64 `json:"ts"`
	Message      string  `json:"msg"`
}
