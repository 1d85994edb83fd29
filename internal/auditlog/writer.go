package auditlog

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// Writer is the child's side. It is safe for concurrent use.
type Writer struct {
	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
	// broken is why the parent's verdicts no longer belong to our events.
	broken error
}

// NewWriter returns a Writer to the log behind f, an end that Connect returned,
// which it closes in favour of its own.
func NewWriter(f *os.File) (*Writer, error) {
	conn, err := connection(f)
	if err != nil {
		return nil, err
	}
	return &Writer{conn: conn, r: bufio.NewReader(conn)}, nil
}

// Write implements io.Writer: p is whole lines, and is in the file when Write
// returns without an error.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return 0, w.broken
	}
	verdict, err := w.ask(p)
	if err != nil {
		w.broken = fmt.Errorf("cannot reach the audit log: %w", err)
		return 0, w.broken
	}
	if len(verdict) > 0 {
		return 0, errors.New(string(verdict))
	}
	return len(p), nil
}

func (w *Writer) ask(p []byte) (verdict []byte, err error) {
	if err := send(w.conn, p); err != nil {
		return nil, err
	}
	return receive(w.r)
}

// Close closes the connection.
func (w *Writer) Close() error { return w.conn.Close() }
