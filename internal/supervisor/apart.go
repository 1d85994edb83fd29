package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/sandbox"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/copies"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/supervisor/users"
	"triptych.dev/triptych/internal/tier"
)

// apart is what keeps the processes from one another: each tier and etcd is a user of its own, nil
// where all run as the supervisor does, and has a folder with what it is handed.
type apart struct {
	ids     map[string]users.ID
	folders map[string]*copies.Folder
	// barred: why nobody has a user of its own, although nobody turned that off.
	barred error
}

// separate chooses who the processes are, and makes their folders. It comes when the data directory is
// locked, and before anything is handed over.
func (s *setup) separate() error {
	if err := s.chooseUsers(); err != nil {
		return process.ConfigurationError{Err: err}
	}
	for _, row := range rows(s.embedded(), s.here, s.head) {
		uid, gid := -1, -1
		if id, ok := s.apart.ids[row.name]; ok {
			uid, gid = int(id.UID), int(id.GID)
		}
		folder, err := copies.New(s.dir.Handed(row.name), uid, gid)
		if err != nil {
			return process.ConfigurationError{Err: fmt.Errorf("cannot make the folder of %s: %w", row.name, err)}
		}
		folder.Programs = s.options.Sandbox != sandbox.Enforce
		s.apart.folders[row.name] = folder
		s.undo = append(s.undo, folder.Close)
	}
	return nil
}

// chooseUsers makes everything that is there already theirs.
func (s *setup) chooseUsers() (err error) {
	s.apart.folders = map[string]*copies.Folder{}
	within, on := s.options.Apart()
	if !on {
		return nil
	}
	if err := users.CheckRights(); err != nil {
		return err
	}
	if len(s.options.TierUsers) > 0 {
		s.apart.ids, err = users.Named(s.options.TierUsers)
	} else {
		s.apart.ids, err = users.Pick(within.First, within.Last, everybody(), s.dir.Root, ownerOf(s.dir.Etcd()))
	}
	if err != nil {
		return err
	}
	if err := s.dir.LetThrough(); err != nil {
		return err
	}
	for _, row := range rows(s.embedded(), s.here, s.head) {
		err := s.checkReach(row.name)
		if err == nil {
			continue
		}
		if s.options.AskedApart() {
			return fmt.Errorf("%w, choose another --data-dir or --bin-dir, or have all processes run as root by --user-range=off", err)
		}
		// A checkout below /root is no reason not to start, and one to say so.
		s.apart.ids, s.apart.barred = nil, err
		return nil
	}
	if s.embedded() {
		return give(s.dir.Etcd(), s.apart.ids[Etcd])
	}
	return nil
}

// everybody is who may get a user: etcd first, because the owner of its data says which row it was.
func everybody() []string {
	names := []string{Etcd}
	for _, name := range tier.Order {
		names = append(names, string(name))
	}
	return names
}

func ownerOf(path string) uint32 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// give makes a folder and all in it a user's, if it is not.
func give(folder string, to users.ID) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if is := info.Sys().(*syscall.Stat_t); is.Uid == to.UID && is.Gid == to.GID {
			return nil
		}
		if err := os.Lchown(path, int(to.UID), int(to.GID)); err != nil {
			return fmt.Errorf("cannot give the data of etcd to user %d: %w", to.UID, err)
		}
		return nil
	})
}

// program is what the named process runs.
func (s *setup) program(name string) string {
	if name == Etcd {
		return s.executable
	}
	return s.releases[tier.Name(name)].program(tier.Name(name))
}

// checkReach finds out before anything is started that a process could not find its program or its folder.
func (s *setup) checkReach(name string) error {
	id := s.apart.ids[name]
	return cmp.Or(reaches(name, id, s.dir.Handed(name)), reaches(name, id, s.program(name)))
}

// reaches returns nil when the user that the named process is to be can come to path.
func reaches(name string, id users.ID, path string) error {
	if barrier := datadir.Barrier(path, id.UID, id.GID); barrier != "" {
		return fmt.Errorf("%s is to run as user %d, who cannot enter %s: let others enter it by `chmod o+x %s`", name, id.UID, barrier, barrier)
	}
	return nil
}

// asOwn has spec run as who the named process is, on copies of what its arguments name.
func (s *setup) asOwn(name string, spec child.Spec) (child.Spec, error) {
	folder := s.apart.folders[name]
	var err error
	if spec.Args, err = folder.Arguments(spec.Args); err != nil {
		return spec, process.ConfigurationError{Err: fmt.Errorf("cannot hand %s its files: %w", name, err)}
	}
	spec.Dir, spec.Reword = folder.Path, folder.Original
	if id, ok := s.apart.ids[name]; ok {
		spec.User = &child.User{UID: id.UID, GID: id.GID}
		if s.options.Sandbox == sandbox.Enforce {
			spec.Room = s.room(name)
		}
	}
	return spec, nil
}

func (s *setup) room(name string) *child.Room {
	r := &child.Room{Keep: []string{s.dir.Handed(name)}}
	if s.options.HopTransport == options.Unix {
		r.Keep = append(r.Keep, s.dir.Run())
	}
	for _, socket := range s.apart.folders[name].Sockets() {
		r.Keep = append(r.Keep, filepath.Dir(socket))
	}
	if name == Etcd {
		r.Write = []string{s.dir.Etcd()}
	}
	return r
}

// lacks says what keeps the processes less apart than they could be, a sentence each.
func (s *setup) lacks() []string {
	var lacks []string
	switch {
	case s.apart.ids != nil:
	case s.apart.barred != nil:
		lacks = append(lacks, fmt.Sprintf("all processes run as root: %v", s.apart.barred))
	case os.Geteuid() == 0:
		lacks = append(lacks, "--user-range=off: all processes run as root")
	default:
		lacks = append(lacks, fmt.Sprintf("all processes run as user %d: start the supervisor as root for a user each", os.Geteuid()))
	}
	switch mode := s.options.Sandbox; mode {
	case sandbox.Enforce:
		lacks = append(lacks, sandbox.Missing()...)
		if err := s.forker.NoRoom(); err != nil {
			lacks = append(lacks, fmt.Sprintf("no mounts of a process' own: %v", err))
		}
	default:
		lacks = append(lacks, fmt.Sprintf("--sandbox=%s: processes may do what they have no need of", mode))
	}
	return lacks
}
