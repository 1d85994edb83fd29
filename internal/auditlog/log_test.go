package auditlog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Lumberjack never ends the goroutine that removes old files.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

func open(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// writer is a child's side of a connection to l.
func writer(t *testing.T, l *Log) *Writer {
	t.Helper()
	f, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// lines are what is in the files, however often they were rotated.
func lines(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, slices.Collect(strings.Lines(string(content)))...)
	}
	return all
}

// Three processes write events of all sizes at once; every one is there once and
// whole, whatever file it is in.
func TestEventsOfManyWritersAreWholeThoughTheFileRotates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	l := open(t, Options{Path: filepath.Join(dir, "audit.log"), MaxSize: 1})
	var want []string
	var mu sync.Mutex
	var writing sync.WaitGroup
	for of := range 3 {
		w := writer(t, l)
		writing.Go(func() {
			defer w.Close()
			for i := range 200 {
				event := fmt.Sprintf("%d/%d %s\n", of, i, strings.Repeat("x", (i%20)*1000))
				if n, err := w.Write([]byte(event)); err != nil || n != len(event) {
					t.Errorf("%d %v", n, err)
				}
				mu.Lock()
				want = append(want, event)
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	l.Close()
	got := lines(t, dir)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d: an event is lost, torn or there twice", len(got), len(want))
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) < 2 {
		t.Errorf("not rotated: %v", files)
	}
}

// Old files are compressed, and removed when there are too many.
func TestOldFilesAreCompressedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Path: filepath.Join(dir, "audit.log"), MaxSize: 1, MaxBackups: 2, Compress: true})
	w := writer(t, l)
	for i := range 6 {
		// Files are named by the millisecond.
		for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
			runtime.Gosched()
		}
		if _, err := w.Write(bytes.Repeat([]byte{'a' + byte(i)}, 800_000)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	l.Close()
	var files []string
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		files, _ = filepath.Glob(filepath.Join(dir, "audit-*"))
		compressed, _ := filepath.Glob(filepath.Join(dir, "audit-*.log.gz"))
		return len(files) == 2 && len(compressed) == 2, nil
	})
	if err != nil {
		t.Errorf("there are %q: %v", files, err)
	}
}

func TestAnEventIsInTheFileWhenWriteReturns(t *testing.T) {
	for _, megabytes := range []int{0, 100} {
		dir := t.TempDir()
		l := open(t, Options{Path: filepath.Join(dir, "audit.log"), MaxSize: megabytes})
		w := writer(t, l)
		if _, err := w.Write([]byte("one\n")); err != nil {
			t.Fatal(err)
		}
		if got := lines(t, dir); !slices.Equal(got, []string{"one\n"}) {
			t.Errorf("with %d MB: got %q", megabytes, got)
		}
		w.Close()
		l.Close()
	}
}

func TestTheChildLearnsThatAnEventCouldNotBeWritten(t *testing.T) {
	l := open(t, Options{Path: filepath.Join(t.TempDir(), "audit.log"), MaxSize: 1})
	w := writer(t, l)
	_, err := w.Write(bytes.Repeat([]byte("x"), 2<<20))
	if err == nil || !strings.Contains(err.Error(), "exceeds maximum file size") {
		t.Errorf("got %v", err)
	}
	if _, err := w.Write([]byte("fits\n")); err != nil {
		t.Errorf("after it: %v", err)
	}
	w.Close()
	l.Close()
}

// A killed process leaves half an event on the way.
func TestHalfAnEventIsLeftOut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Path: filepath.Join(dir, "audit.log")})
	w := writer(t, l)
	if _, err := w.Write([]byte("whole\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.conn.Write([]byte{0, 0, 0, 10, 'h', 'a', 'l', 'f'}); err != nil {
		t.Fatal(err)
	}
	w.Close()
	l.Close()
	if got := lines(t, dir); !slices.Equal(got, []string{"whole\n"}) {
		t.Errorf("got %q", got)
	}
}

// What a child claims to send costs its parent nothing until it is sent.
func TestAnAbsurdLengthEndsTheConnection(t *testing.T) {
	l := open(t, Options{Path: filepath.Join(t.TempDir(), "audit.log")})
	w := writer(t, l)
	if _, err := w.conn.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("late\n")); err == nil {
		t.Error("the connection goes on")
	}
	if _, err := w.Write([]byte("later\n")); err == nil {
		t.Error("a broken writer goes on")
	}
	w.Close()
	l.Close()
}

func TestAPathThatCannotBeWrittenIsToldAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "audit.log"), t.TempDir()} {
		if _, err := Open(Options{Path: path, MaxSize: 1}); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}
