package datadir

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// chownLike gives a folder and all in it to the owner of another one, if this process may
// do so: who runs as root has given etcd's folder to etcd's user.
func chownLike(folder string, like fs.FileInfo) error {
	is, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(is.Uid), int(is.Gid))
	})
}
