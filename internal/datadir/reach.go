package datadir

import (
	"os"
	"path/filepath"
	"syscall"
)

// throughMode lets others pass a folder to what they know the name of and may enter.
const throughMode = 0o711

// Handed is the folder of what the named process is handed.
func (d Dir) Handed(name string) string { return filepath.Join(d.Run(), name) }

// LetThrough lets processes of other users come to the folders that are theirs, and see nothing on
// the way.
func (d Dir) LetThrough() error {
	for _, folder := range d.through() {
		if err := os.Chmod(folder, throughMode); err != nil {
			return explain(err)
		}
	}
	return nil
}

func (d Dir) through() []string { return []string{d.Root, d.Run()} }

// Barrier returns the first folder on the way to path that the user, or members of the group, cannot
// enter, or "". What does not exist is none.
func Barrier(path string, uid, gid uint32) string {
	var way []string
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		way = append([]string{folder}, way...)
		if folder == "/" || folder == "." {
			break
		}
	}
	for _, folder := range way {
		info, err := os.Stat(folder)
		if err != nil {
			return ""
		}
		is, bit := info.Sys().(*syscall.Stat_t), os.FileMode(0o001)
		switch {
		case is.Uid == uid:
			bit = 0o100
		case is.Gid == gid:
			bit = 0o010
		}
		if info.Mode().Perm()&bit == 0 {
			return folder
		}
	}
	return ""
}
