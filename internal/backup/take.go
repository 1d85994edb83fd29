package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/version"
	"triptych.dev/triptych/internal/wiring"
)

// Tell is called with what is being done, how far it has come, and how far it has to go, in
// bytes.
type Tell func(step string, done, total int64)

// at tells of one step.
func (t Tell) at(step string) func(done, total int64) {
	return func(done, total int64) { t(step, done, total) }
}

// Source is what a snapshot is taken of.
type Source struct {
	// Main is the etcd of all the rest, Own that of custom resources, nil if they have none.
	// Who asks must have the role root where authentication is on.
	Main wiring.Etcd
	Own  *wiring.Etcd
	// Files are what else is to be in it. They are named after etcd has answered.
	Files func() ([]File, error)
	// Scratch is a folder for what etcd sends until it is in the snapshot. Others may not
	// enter it.
	Scratch string
}

// Take makes the snapshot at to, which must not be there. Whatever was acknowledged before
// is in it. The error leaves nothing behind.
func Take(ctx context.Context, s Source, to string, seal Seal, tell Tell) (m Manifest, err error) {
	scratch, err := os.MkdirTemp(s.Scratch, scratchPattern)
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(scratch)
	m = Manifest{Format: Format, Taken: time.Now().UTC(), Version: version.Version}
	m.Host, _ = os.Hostname()
	files := []File{{Name: MainName, Path: filepath.Join(scratch, MainName)}}
	if m.Etcd, err = fetch(ctx, s.Main, files[0].Path, filepath.Dir(to), tell.at("fetching etcd")); err != nil {
		return m, err
	}
	if s.Own != nil {
		own := File{Name: OwnName, Path: filepath.Join(scratch, OwnName)}
		is, err := fetch(ctx, *s.Own, own.Path, filepath.Dir(to), tell.at("fetching the etcd of custom resources"))
		if err != nil {
			return m, fmt.Errorf("the etcd of custom resources: %w", err)
		}
		m.ExtensionsEtcd, files = &is, append(files, own)
	}
	more, err := s.Files()
	if err != nil {
		return m, err
	}
	return m, Write(to, m, append(files, more...), seal, tell.at("writing"))
}

// scratchPattern is what names of folders with what etcd sent begin with.
const scratchPattern = "snapshot-*"

// Sweep removes what a process that was killed has left in a scratch folder.
func Sweep(scratch string) error {
	left, err := filepath.Glob(filepath.Join(scratch, scratchPattern))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// fetch asks one server after the other: a snapshot is of one member.
func fetch(ctx context.Context, from wiring.Etcd, path, target string, tell func(done, total int64)) (etcd.Database, error) {
	var errs []error
	for _, server := range from.Servers {
		one := from
		one.Servers = []string{server}
		is, err := fetchOf(ctx, one, path, target, tell)
		if err == nil || ctx.Err() != nil {
			return is, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
		_ = os.Remove(path)
	}
	return etcd.Database{}, errors.Join(errs...)
}

// askTimeout bounds the first question to a server.
const askTimeout = 10 * time.Second

func fetchOf(ctx context.Context, from wiring.Etcd, path, target string, tell func(done, total int64)) (etcd.Database, error) {
	client, err := custody.Dial(from)
	if err != nil {
		return etcd.Database{}, err
	}
	defer client.Close()
	size, err := sizeOf(ctx, client)
	if err != nil {
		return etcd.Database{}, err
	}
	if err := checkRoom(map[string]int64{filepath.Dir(path): size, target: size}); err != nil {
		return etcd.Database{}, err
	}
	return etcd.Fetch(ctx, client, path, tell)
}

func sizeOf(ctx context.Context, client *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	status, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil {
		return 0, fmt.Errorf("cannot ask etcd how large its data is: %w", err)
	}
	return status.DbSize, nil
}
