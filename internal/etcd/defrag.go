package etcd

import (
	"time"

	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// When the database file is rewritten without its holes. etcd reuses them but
// never gives them back, and its quota counts them. It answers nobody
// meanwhile, for seconds with each GiB in use, hence not for a little.
var (
	// defragDelay keeps the first look out of the start of everything.
	defragDelay = 10 * time.Minute
	// defragInterval is the time between two looks.
	defragInterval = time.Hour
	// defragMinWaste is the least number of bytes worth a pause.
	defragMinWaste = int64(64 << 20)
	// defragMinShare is the least wasted share of the file worth a pause. Over
	// half, what is copied is less than what is won.
	defragMinShare = 0.5
)

// keepCompact looks after the database until stop is called, which waits for a
// defragmentation under way.
func keepCompact(db backend.Backend, dir string, log *zap.Logger) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		next := time.NewTimer(defragDelay)
		defer next.Stop()
		for {
			select {
			case <-quit:
				return
			case <-next.C:
				defragment(db, dir, log)
				next.Reset(defragInterval)
			}
		}
	}()
	return func() { close(quit); <-done }
}

// defragment logs why it does not, or why it failed: the database is as before
// then, and the next look tries again.
func defragment(db backend.Backend, dir string, log *zap.Logger) {
	size, used := db.Size(), db.SizeInUse()
	if !worthDefragmenting(size, used) {
		return
	}
	if free, err := freeSpace(dir); err != nil || free < needed(used) {
		log.Warn("not defragmenting: the disk has no room for a second copy of the data",
			zap.Int64("free-bytes", free), zap.Int64("needed-bytes", needed(used)), zap.Error(err))
		return
	}
	if err := db.Defrag(); err != nil {
		log.Error("defragmenting failed", zap.Error(err))
	}
}

func worthDefragmenting(size, used int64) bool {
	waste := size - used
	return waste > defragMinWaste && float64(waste) > defragMinShare*float64(size)
}

// needed is the room for a second copy of used bytes, and for what etcd logs meanwhile.
func needed(used int64) int64 { return used + defragMinWaste }

func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
