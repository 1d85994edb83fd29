package child

import (
	"bytes"
	"strings"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"triptych.dev/triptych/internal/supervisor/logline"
)

const (
	// logMegabytes and logBackups bound what the logs of a child take on disk.
	logMegabytes = 50
	logBackups   = 4
	// maxWord is how much of a line is kept for reports.
	maxWord = 2048
)

// Log is the rotated log file of a child. It outlives the child's processes and
// remembers the last word of the current one.
type Log struct {
	file *lumberjack.Logger

	mu    sync.Mutex
	json  *logline.Writer // nil where lines go to the file as they are
	line  []byte          // the beginning of the line that is being written
	error string          // the last line that began with "error:"
	panic string          // the first line that began with "panic:" or "fatal error:"
}

// OpenLog returns the log at path. The file is made, 0600, by the first line.
func OpenLog(path string) *Log {
	return &Log{file: &lumberjack.Logger{Filename: path, MaxSize: logMegabytes, MaxBackups: logBackups}}
}

// Another returns a log of another child that is written into the same file, which
// stays l's to close.
func (l *Log) Another() *Log { return &Log{file: l.file} }

// Label makes each line from now on a JSON object that names the process.
func (l *Log) Label(tier, replica string) { l.json = logline.New(l.file, tier, replica) }

// Write implements io.Writer. It never fails: a full disk must not break the
// pipe of a child, which would die of it.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listen(p)
	if l.json != nil {
		_, _ = l.json.Write(p)
	} else {
		_, _ = l.file.Write(p)
	}
	return len(p), nil
}

// Close closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLine()
	return l.file.Close()
}

// endLine has the next process begin a line of its own.
func (l *Log) endLine() {
	if l.json != nil {
		_ = l.json.Flush()
	}
}

func (l *Log) listen(p []byte) {
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.collect(p)
			return
		}
		l.collect(p[:i])
		l.hear(string(l.line))
		l.line = l.line[:0]
		p = p[i+1:]
	}
}

func (l *Log) collect(p []byte) {
	l.line = append(l.line, p[:min(len(p), maxWord-len(l.line))]...)
}

func (l *Log) hear(line string) {
	if word, ok := strings.CutPrefix(line, "error:"); ok {
		l.error = strings.TrimSpace(word)
	}
	if l.panic == "" && (strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")) {
		l.panic = line
	}
}

// lastWord is why the process ended, by its own account.
func (l *Log) lastWord() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hear(string(l.line))
	if l.error != "" {
		return l.error
	}
	return l.panic
}

// forget begins the account of another process.
func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLine()
	l.line, l.error, l.panic = l.line[:0], "", ""
}
