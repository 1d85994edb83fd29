// Package users finds for each process of a supervisor a user id that nobody else on this
// machine has.
package users

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// ID is a user and its group.
type ID struct{ UID, GID uint32 }

// Pick returns as many ids as there are names, in one row from first to last. It begins where the folder
// seed says, or with before, the id that the first of names had last time (0 is none), and
// passes by those that a user, a group or a process of this machine has. It asks no lock: two supervisors
// that start at the same moment could get the same only if their folders led to the same row.
func Pick(first, last uint32, names []string, seed string, before uint32) (map[string]ID, error) {
	n := uint32(len(names))
	rows := (last - first + 1) / n
	taken, err := running()
	if err != nil {
		return nil, err
	}
	sum := fnv.New32a()
	sum.Write([]byte(seed))
	begin := sum.Sum32() % rows
	if before >= first && before <= last {
		begin = (before - first) / n
	}
	for i := range rows {
		base := first + (begin+i)%rows*n
		if free(base, n, taken) {
			ids := map[string]ID{}
			for j, name := range names {
				ids[name] = ID{base + uint32(j), base + uint32(j)}
			}
			return ids, nil
		}
	}
	return nil, fmt.Errorf("users, groups or processes have all ids from %d to %d: give a --user-range that nobody uses", first, last)
}

// running are the ids of all processes. Whose folder it is does not tell: that of a process that
// nobody may look into is root's.
func running() (map[uint32]bool, error) {
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil || len(files) == 0 {
		return nil, errors.New("cannot see in /proc which ids are in use")
	}
	taken := map[uint32]bool{}
	for _, file := range files {
		content, _ := os.ReadFile(file) // empty if it is gone
		for line := range strings.Lines(string(content)) {
			if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
				for _, id := range strings.Fields(ids) {
					uid, _ := strconv.ParseUint(id, 10, 32)
					taken[uint32(uid)] = true
				}
			}
		}
	}
	return taken, nil
}

func free(base, n uint32, taken map[uint32]bool) bool {
	for id := base; id < base+n; id++ {
		name := strconv.FormatUint(uint64(id), 10)
		if _, err := user.LookupId(name); err == nil || taken[id] {
			return false
		}
		if _, err := user.LookupGroupId(name); err == nil {
			return false
		}
	}
	return true
}

// Named returns the ids of users that exist, by whatever they are for.
func Named(users map[string]string) (map[string]ID, error) {
	ids, seen := map[string]ID{}, map[ID]string{}
	for of, name := range users {
		u, err := user.Lookup(name)
		if err != nil {
			return nil, fmt.Errorf("--tier-user: %s is to be run by %q, which is no user of this machine: make one by `useradd --system --no-create-home --shell /usr/sbin/nologin %s`", of, name, name)
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return nil, fmt.Errorf("--tier-user: %s: %w", name, err)
		}
		id := ID{uint32(uid), uint32(gid)}
		if id.UID == 0 || id.GID == 0 {
			return nil, fmt.Errorf("--tier-user: %s is root, or of its group: name a user without rights", name)
		}
		for other := range seen {
			if other.UID == id.UID || other.GID == id.GID {
				return nil, fmt.Errorf("--tier-user: %s and %s are of one user or group: each process needs one of its own", name, seen[other])
			}
		}
		ids[of], seen[id] = id, name
	}
	return ids, nil
}
