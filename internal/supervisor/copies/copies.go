package copies

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Folder is the folder of one process, or of several that are handed the same. Its methods may be called
// from any goroutine.
type Folder struct {
	// Path is the folder, an absolute path.
	Path string
	// Programs says that what a file tells to run will be run; where it will not be, Hand
	// refuses the file.
	Programs bool

	uid    int
	gid    int // whose members can read it; -1 is the owner alone
	mu     sync.Mutex
	copies map[string]*copied // by the path of the original
	relays map[string]relay   // by the address of the original socket
	whole  map[string]string  // folders whose files all have copies, by the path of the original
}

// copied is one file and its copy.
type copied struct {
	from, to string
	content  []byte
	stamp    stamp
}

// stamp tells a file from the one that was there before. It is worth nothing for one that was changed a
// moment ago, and may be again at what the file system takes for the same moment.
type stamp struct {
	inode    uint64
	size     int64
	modified time.Time
}

// settled is how long after its last change the stamp of a file counts.
const settled = 2 * time.Second

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	if time.Since(info.ModTime()) < settled {
		return stamp{}, nil
	}
	return stamp{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime()}, nil
}

// New makes the folder at path anew. Nobody but this process can write there. The process that it is
// for runs as user uid of group gid, whose members can read; -1 is who we are.
func New(path string, uid, gid int) (*Folder, error) {
	f := &Folder{Path: path, uid: uid, gid: gid, copies: map[string]*copied{}, relays: map[string]relay{}, whole: map[string]string{}}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	return f, f.open(path, 0o700, 0o750)
}

// open lets the group read what is alone's.
func (f *Folder) open(path string, alone, group os.FileMode) error {
	if f.gid < 0 {
		return os.Chmod(path, alone)
	}
	// The mode comes last: a change of group may take bits away.
	if err := os.Chown(path, -1, f.gid); err != nil {
		return err
	}
	return os.Chmod(path, group)
}

// Close ends the relays.
func (f *Folder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.relays {
		r.close()
	}
}

// written are flags whose file is not read but made.
var written = []string{"audit-log-path", "cert-dir", "debug-socket-path", "data-dir"}

// Arguments returns args, --FLAG=VALUE each, with the copies of the files that they name.
func (f *Folder) Arguments(args []string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	handed := slices.Clone(args)
	for i, arg := range args {
		flag, value, ok := strings.Cut(arg, "=")
		if !ok || slices.Contains(written, strings.TrimLeft(flag, "-")) {
			continue
		}
		value, err := f.value(strings.TrimLeft(flag, "-"), value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		handed[i] = flag + "=" + value
	}
	return handed, nil
}

// value replaces each file in a list, as in CERT,KEY:NAME. One without a slash is a file only where
// the flag is for one.
func (f *Folder) value(flag, value string) (string, error) {
	parts := []string{value}
	if !isFile(value) {
		parts = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ':' })
	}
	for _, part := range parts {
		if !strings.Contains(part, "/") && !forFiles(flag) {
			continue
		}
		path, err := filepath.Abs(part)
		if err != nil || !isFile(path) {
			continue
		}
		to, err := f.hand(path)
		if err != nil {
			return "", err
		}
		value = strings.Replace(value, part, to, 1)
	}
	return value, nil
}

func forFiles(flag string) bool {
	for _, end := range []string{"file", "config", "key", "certificate", "authority", "hosts", "manifest", "cert-key"} {
		if strings.HasSuffix(flag, end) {
			return true
		}
	}
	return false
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// hand makes the copy of the file at from, if there is none, and returns its path. The caller holds
// the lock.
func (f *Folder) hand(from string) (string, error) {
	if known := f.copies[from]; known != nil {
		return known.to, nil
	}
	c := &copied{from: from, to: f.unused(filepath.Base(filepath.Dir(from)) + "-" + filepath.Base(from))}
	f.copies[from] = c // first, for files that name each other
	if _, err := f.renew(c); err != nil {
		delete(f.copies, from)
		return "", err
	}
	return c.to, nil
}

// unused returns the path of name in the folder, with a number if another file has it.
func (f *Folder) unused(name string) string {
	taken := func(path string) bool {
		for _, c := range f.copies {
			if c.to == path {
				return true
			}
		}
		return false
	}
	path := filepath.Join(f.Path, name)
	for n := 2; taken(path); n++ {
		path = filepath.Join(f.Path, fmt.Sprintf("%d-%s", n, name))
	}
	return path
}

// renew writes the copy if the file is another one than it was.
func (f *Folder) renew(c *copied) (changed bool, err error) {
	now, err := stampOf(c.from)
	if err != nil || now == c.stamp && now != (stamp{}) {
		return false, err
	}
	content, err := os.ReadFile(c.from)
	if err != nil {
		return false, err
	}
	c.stamp = stamp{} // until all is done
	if c.content != nil && bytes.Equal(content, c.content) {
		c.stamp = now
		return false, nil
	}
	handed, err := f.rewritten(c.from, content)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.from, err)
	}
	if err := f.write(c.to, handed); err != nil {
		return false, err
	}
	c.content, c.stamp = content, now
	return true, nil
}

// write replaces the file at path as a whole, by one that can be read from its first moment.
func (f *Folder) write(path string, content []byte) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	if err := f.open(next, 0o600, 0o640); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Renew renews all copies whose files have changed and returns what did, and what could not be renewed:
// a file that is away for a moment, as during its replacement, keeps its copy.
func (f *Folder) Renew() (changed []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for from, to := range f.whole {
		errs = append(errs, f.handEntries(from, to))
	}
	all := make([]*copied, 0, len(f.copies))
	for _, c := range f.copies {
		all = append(all, c) // renewing may add others
	}
	for _, c := range all {
		was, err := f.renew(c)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		if was {
			changed = append(changed, c.from)
		}
	}
	slices.Sort(changed)
	return changed, errors.Join(errs...)
}

// Forget removes the copy of a file that nobody needs any more.
func (f *Folder) Forget(from string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.copies[from]; c != nil {
		delete(f.copies, from)
		_ = os.Remove(c.to)
	}
}

// Original returns text with the names of the originals in place of those of the copies, as the user knows them.
func (f *Folder) Original(text string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pairs []string
	for _, c := range f.copies {
		pairs = append(pairs, c.to, c.from)
	}
	for address, r := range f.relays {
		pairs = append(pairs, r.path, address)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// Files returns the paths of the originals that have copies.
func (f *Folder) Files() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for from := range f.copies {
		all = append(all, from)
	}
	slices.Sort(all)
	return all
}

// Origins returns the folders of the originals.
func (f *Folder) Origins() []string {
	var all []string
	for _, file := range f.Files() {
		all = append(all, filepath.Dir(file))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
