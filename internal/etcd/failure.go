package etcd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"triptych.dev/triptych/internal/process"
)

const (
	cannotStart = "cannot start etcd"
	failed      = "etcd failed"
)

// failures collects the first of the ways in which etcd gives up: an error that
// is returned, a log entry of level fatal or panic, a panic of its storage.
type failures struct {
	first chan error
}

func newFailures() *failures { return &failures{first: make(chan error, 1)} }

func (f *failures) report(err error) {
	select {
	case f.first <- err:
	default: // one is enough: the process ends by it
	}
}

func (f *failures) recover() {
	if v := recover(); v != nil {
		f.report(panicError{v})
	}
}

// panicError is a panic of a start. etcd trusts what it has stored and does not
// look before it leaps: whatever is not what it wrote ends like this.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// OnWrite is called for a fatal entry in place of os.Exit, and for a panic. The
// goroutine goes no further, so that nothing is acknowledged that was not
// stored, and Run returns the error. It must not unwind either: deferred calls
// of etcd wait for goroutines that may be stuck here, too.
func (f *failures) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.report(entryError(entry.Message, fields))
	select {}
}

func entryError(message string, fields []zapcore.Field) error {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", message, err)
		}
	}
	return errors.New(message)
}

// newLogger writes etcd's usual JSON to stderr, which the supervisor keeps in
// log/etcd.log.
func newLogger(level string, f *failures) (*zap.Logger, error) {
	c := logutil.DefaultZapLoggerConfig
	c.OutputPaths, c.ErrorOutputPaths = []string{"stderr"}, []string{"stderr"}
	c.Level = zap.NewAtomicLevelAt(logutil.ConvertToZapLevel(level))
	return c.Build(zap.WithFatalHook(f), zap.WithPanicHook(f))
}

// check finds a user's mistakes before anything is started.
func check(o Options) error {
	if err := o.validate(); err != nil {
		return process.ConfigurationError{Err: fmt.Errorf("%s: %w", cannotStart, err)}
	}
	for _, file := range []string{o.CAFile, o.CertFile, o.KeyFile} {
		if err := readable(file); err != nil {
			return process.ConfigurationError{Err: fmt.Errorf("%s: %w", cannotStart, err)}
		}
	}
	if err := writable(o.DataDir); err != nil {
		return explain(o, cannotStart, err)
	}
	return nil
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// explain says what a failure means to the user. What another start may not
// meet stays a plain error; the rest are configuration errors.
func explain(o Options, what string, err error) error {
	if err == nil {
		return nil
	}
	remedy, lasting := diagnose(o, err)
	err = fmt.Errorf("%s: %w%s", what, err, remedy)
	if lasting {
		return process.ConfigurationError{Err: err}
	}
	return err
}

func diagnose(o Options, err error) (remedy string, lasting bool) {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf(": another process listens on %s: stop it", o.ClientAddress), false
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Sprintf(": free some space on the disk of %s", o.DataDir), false
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		return fmt.Sprintf(": make %s a folder that user %d can write", o.DataDir, os.Geteuid()), true
	case damaged(err):
		return fmt.Sprintf(": the data in %s is damaged: restore it from a backup, "+
			"or move the folder away to start empty", filepath.Join(o.DataDir, "member")), true
	default:
		return "", false
	}
}

// damaged tells errors of reading stored data from others. Only some of them
// are values; bbolt's reach us as text.
func damaged(err error) bool {
	if errors.As(err, &panicError{}) {
		return true
	}
	for _, known := range []error{wal.ErrCRCMismatch, wal.ErrFileNotFound, wal.ErrSnapshotMismatch,
		wal.ErrMetadataConflict, io.ErrUnexpectedEOF} {
		if errors.Is(err, known) {
			return true
		}
	}
	for _, text := range []string{"cannot be repaired", "invalid database", "file size too small", "checksum error",
		"version mismatch", "failed to recover"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}
