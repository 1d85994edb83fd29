package backup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// slack is what is left free beside a snapshot: etcd may be on the same disk, and ends when
// that is full.
const slack = 64 << 20

// checkRoom tells whether folders can take so many bytes each.
func checkRoom(needs map[string]int64) error {
	type disk struct {
		folder     string
		need, free int64
	}
	disks := map[unix.Fsid]*disk{}
	for folder, need := range needs {
		var is unix.Statfs_t
		if err := unix.Statfs(folder, &is); err != nil {
			return fmt.Errorf("cannot use %s: %w", folder, err)
		}
		d := disks[is.Fsid]
		if d == nil {
			d = &disk{folder: folder, free: int64(is.Bavail) * is.Bsize}
			disks[is.Fsid] = d
		}
		d.need += need
	}
	for _, d := range disks {
		if d.free < d.need+slack {
			return fmt.Errorf("the disk of %s has %d MiB free, and %d MiB are needed: free some space, or choose another disk", d.folder, d.free>>20, (d.need+slack)>>20)
		}
	}
	return nil
}
