// Package supportbundle packs what helps to find out what is wrong with a control plane into
// one file that can be handed on. It never packs keys or tokens: no file that is to hold one is
// packed at all, and whatever else is packed is searched for the secrets of this host, each by
// itself, and for what looks like one.
package supportbundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
)

// Options say what is packed.
type Options struct {
	Dir datadir.Dir
	// Folder is the name of the folder that all files are in.
	Folder string
	Time   time.Time
	// Version is the supervisor's, as it prints it.
	Version any
	// Logs are the names of the logs, LogBytes how much of the end of each is packed.
	Logs     []string
	LogBytes int64
	// Goroutines are packed too: what each process of a tier is at.
	Goroutines bool
}

// patience bounds each question: one that is not answered is noted, and the next one asked.
const patience = 15 * time.Second

// Write writes a bundle as tar.gz and returns what is in it. What cannot be had is noted among
// the pieces and is no error: a bundle is wanted most when things are broken.
func Write(ctx context.Context, w io.Writer, o Options) ([]Piece, error) {
	commandLine, folder, commandErr := commandLine(o.Dir)
	configuration, configurationErr := configurations(folder, commandLine)
	a := newArchive(w, o.Folder, o.Time, redactorOf(o.Dir, commandLine, folder, configuration))
	a.addJSON("version.json", o.Version, nil)
	a.add("command-line.txt", commandLine, commandErr)
	for _, c := range configuration {
		a.add(filepath.Join("configuration", c.path), c.text, nil)
	}
	if configurationErr != nil {
		a.add("configuration", nil, configurationErr)
	}
	client := control.NewClient(o.Dir.Control())
	ask := func(name string, question func(context.Context) (any, error)) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		value, err := question(ctx)
		a.addJSON(name, value, err)
	}
	var status *control.Status
	ask("status.json", func(ctx context.Context) (_ any, err error) {
		status, err = client.Status(ctx)
		return status, err
	})
	ask("security.json", func(ctx context.Context) (any, error) { return client.Security(ctx) })
	upgrade, err := os.ReadFile(o.Dir.Upgrade())
	if !errors.Is(err, fs.ErrNotExist) {
		a.add("upgrade.json", upgrade, err)
	}
	for _, name := range o.Logs {
		text, err := end(o.Dir.LogFile(name), o.LogBytes)
		if !errors.Is(err, fs.ErrNotExist) { // that process never ran
			a.add("log/"+name+".log", text, err)
		}
	}
	files, err := listing(o.Dir.Root)
	a.add("files.txt", files, err)
	certificates, err := certificates(o.Dir.PKI())
	a.add("certificates.txt", certificates, err)
	a.add("host.txt", host(o.Dir.Root), nil)
	askAPI(ctx, a, o, status)
	return a.pieces, a.close()
}

// RedactorOf knows the secrets of the supervisor of a data directory: those in its files, and in those that its command
// line and configuration name. Keys that are made later it knows by their shape alone.
func RedactorOf(d datadir.Dir) *Redactor {
	commandLine, folder, _ := commandLine(d) // where nothing runs, nothing more is named
	configuration, _ := configurations(folder, commandLine)
	return redactorOf(d, commandLine, folder, configuration)
}

func redactorOf(d datadir.Dir, commandLine []byte, folder string, configuration []file) *Redactor {
	secrets, texts := secretsBelow(d.Root), [][]byte{commandLine}
	for _, c := range configuration {
		secrets, texts = append(secrets, secretsOf(c.path)...), append(texts, c.text)
	}
	return newRedactor(append(secrets, secretsNamed(folder, texts...)...))
}

// file is one and its content.
type file struct {
	path string
	text []byte
}

// commandLine is that of the running supervisor, an argument a line, and the folder that it
// was given in.
func commandLine(d datadir.Dir) (args []byte, folder string, err error) {
	lock, err := os.ReadFile(d.Lock())
	if err != nil {
		return nil, "", err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(lock)))
	if err != nil {
		return nil, "", control.ErrNotRunning
	}
	folder, err = os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return nil, "", err
	}
	args, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return append(bytes.ReplaceAll(bytes.TrimRight(args, "\x00"), []byte{0}, []byte{'\n'}), '\n'), folder, err
}

// configurations are the files that --config and --config-dir name, and those beside the former.
func configurations(folder string, commandLine []byte) (files []file, err error) {
	var paths []string
	for flag, patterns := range map[string][]string{"--config": {"", ".d/*.yaml"}, "--config-dir": {"/*.yaml"}} {
		value := valueOf(flag, commandLine)
		if value == "" {
			continue
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(folder, value)
		}
		for _, pattern := range patterns {
			found, _ := filepath.Glob(value + pattern)
			paths = append(paths, found...)
		}
		if len(paths) == 0 {
			err = errors.Join(err, fmt.Errorf("%s=%s: there is nothing", flag, value))
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		text, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr)
		files = append(files, file{path, text})
	}
	return files, err
}

// valueOf is the last value of a flag, or nothing.
func valueOf(flag string, commandLine []byte) (value string) {
	args := strings.Split(strings.TrimSpace(string(commandLine)), "\n")
	for i, arg := range args {
		if given, ok := strings.CutPrefix(arg, flag+"="); ok {
			value = given
		} else if arg == flag && i+1 < len(args) {
			value = args[i+1]
		}
	}
	return value
}

// end is the end of a file, from the beginning of a line.
func end(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	skipped := max(0, info.Size()-size)
	text, err := io.ReadAll(io.NewSectionReader(f, skipped, size))
	if skipped == 0 || err != nil {
		return text, err
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	return []byte(rest), fmt.Errorf("the first %d bytes are left out", info.Size()-int64(len(rest)))
}
