// Package auditlog lets several processes write one audit log: the parent owns
// the file, rotates it and removes old ones, and each child writes its events by a
// connection that it inherits. A child that is killed leaves no half line behind,
// and cannot change what is written.
package auditlog

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Stdout as a path is standard output.
const Stdout = "-"

// Options are kube-apiserver's flags of the same names, --audit-log-path and so on.
type Options struct {
	Path string
	// MaxAge is in days, MaxSize in megabytes; 0 is without bound.
	MaxAge, MaxBackups, MaxSize int
	Compress                    bool
}

// Log is the parent's side.
type Log struct {
	out     io.WriteCloser
	mu      sync.Mutex // of out
	writers sync.WaitGroup
}

// Open opens the file at o.Path to append to, and makes it and its directory if
// need be.
func Open(o Options) (*Log, error) {
	if o.Path == Stdout {
		return &Log{out: unclosed{os.Stdout}}, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, err
	}
	// At once: lumberjack would tell at the first event that it may not.
	f, err := os.OpenFile(o.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if o.MaxSize == 0 {
		return &Log{out: f}, nil
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return &Log{out: &lumberjack.Logger{
		Filename: o.Path, MaxAge: o.MaxAge, MaxBackups: o.MaxBackups, MaxSize: o.MaxSize, Compress: o.Compress,
	}}, nil
}

// unclosed is what is not ours to close.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// Connect returns what one child is to inherit and to make a Writer of. The caller
// closes it once the child has it.
func (l *Log) Connect() (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a connection to the audit log: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "audit log")
	conn, err := connection(os.NewFile(uintptr(pair[0]), "audit log"))
	if err != nil {
		theirs.Close()
		return nil, err
	}
	l.writers.Go(func() { l.serve(conn) })
	return theirs, nil
}

// connection closes f in favour of what it returns.
func connection(f *os.File) (net.Conn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the connection to the audit log: %w", err)
	}
	return conn, nil
}

// serve writes what comes until the child has gone. What comes of half an event
// then is left out.
func (l *Log) serve(conn net.Conn) {
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		event, err := receive(r)
		if err != nil {
			return
		}
		verdict := ""
		if err := l.write(event); err != nil {
			verdict = err.Error()
		}
		if err := send(conn, []byte(verdict)); err != nil {
			return
		}
	}
}

func (l *Log) write(event []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.out.Write(event)
	return err
}

// Close returns when the children, which are gone or about to be, have no more to
// write, and the file is closed.
func (l *Log) Close() error {
	l.writers.Wait()
	return l.out.Close()
}
