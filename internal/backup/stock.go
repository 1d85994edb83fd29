package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/wiring"
)

// MigratedFolder is where the settings of a stock kube-apiserver are put, below the data
// directory.
const MigratedFolder = "migrated"

// kubeadmKeys are what kubeadm and a data directory call the same. What is not here is made at the next
// start, or is nobody's but kubeadm's.
var kubeadmKeys = []string{
	"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub", "etcd/ca.crt", "etcd/ca.key",
	"apiserver.crt", "apiserver.key", "apiserver-kubelet-client.crt", "apiserver-kubelet-client.key",
	"front-proxy-client.crt", "front-proxy-client.key", "apiserver-etcd-client.crt", "apiserver-etcd-client.key",
	"etcd/server.crt", "etcd/server.key",
}

// neededKeys are those without which the cluster would be another one.
var neededKeys = []string{"ca.crt", "sa.key", "sa.pub"}

// Stock is what a stock kube-apiserver and its etcd have left.
type Stock struct {
	// Etcd is the data directory of etcd, PKI a folder as kubeadm makes it. Both are only read.
	Etcd, PKI string
	// Settings are files for MigratedFolder.
	Settings []File
}

// Migrated is what a migration has done.
type Migrated struct {
	Etcd etcd.Database
	// Aside is the folder that keeps what was there before, or empty.
	Aside string
}

// FromStock makes a data directory of what a stock kube-apiserver has left: with the same revisions, so that
// clients go on where they are. All of it is there at once or, after an error, nothing.
func FromStock(ctx context.Context, h *datadir.Handle, from Stock, replace bool, tell Tell) (m Migrated, err error) {
	if has := Occupied(h.Dir); has != "" && !replace {
		return m, &OccupiedError{has}
	}
	staging, err := h.Stage()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, h.Unstage()) }()
	if err := copyKeys(from.PKI, filepath.Join(staging, PKIFolder)); err != nil {
		return m, err
	}
	settings := filepath.Join(staging, MigratedFolder)
	if err := os.Mkdir(settings, 0o700); err != nil {
		return m, err
	}
	for _, f := range from.Settings {
		if err := put(f, filepath.Join(settings, f.Name)); err != nil {
			return m, err
		}
	}
	if m.Etcd, err = rebuild(ctx, from.Etcd, staging, filepath.Join(staging, "etcd"), etcd.Embedded, false, tell); err != nil {
		return m, err
	}
	m.Aside, err = h.Replace("etcd", PKIFolder, MigratedFolder)
	return m, err
}

// ToStock makes the folder to, which must not be there, of a data directory whose supervisor is stopped:
// etcd/ is the data of a plain etcd of one member, without authentication, pki/ a folder as kubeadm
// makes it. The data directory is only read.
func ToStock(ctx context.Context, h *datadir.Handle, to string, member etcd.Member, tell Tell) (m Migrated, err error) {
	if _, err := os.Lstat(to); err == nil {
		return m, fmt.Errorf("%s is there already: choose another name", to)
	}
	part := to + ".part"
	if err := os.RemoveAll(part); err != nil { // of one that was killed
		return m, err
	}
	if err := os.MkdirAll(part, 0o700); err != nil {
		return m, err
	}
	defer os.RemoveAll(part) // fails to find it once renamed
	if err := copyKeys(h.PKI(), filepath.Join(part, PKIFolder)); err != nil {
		return m, err
	}
	if m.Etcd, err = rebuild(ctx, h.Etcd(), part, filepath.Join(part, "etcd"), member, true, tell); err != nil {
		return m, err
	}
	if err := datadir.SyncTree(part); err != nil {
		return m, err
	}
	if err := os.Rename(part, to); err != nil {
		return m, err
	}
	return m, syncFolder(filepath.Dir(to))
}

// ToEmbedded makes the data of the embedded etcd of all that an etcd of the user's has, with the same revisions. All of it is there at
// once or, after an error, nothing. leave is called before anything is read: it says that nobody is to serve from there any more. What it
// returns takes that back; it is called, even if ctx is done, when it is certain that nothing will be there.
func ToEmbedded(ctx context.Context, h *datadir.Handle, from wiring.Etcd, replace bool, leave func(context.Context) (stay func(context.Context) error, err error), tell Tell) (m Migrated, err error) {
	if _, err := os.Lstat(filepath.Join(h.Etcd(), "member")); err == nil && !replace {
		return m, &OccupiedError{h.Etcd() + " holds data already"}
	}
	staging, err := h.Stage()
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, h.Unstage()) }()
	stay, err := leave(ctx)
	if err != nil {
		return m, err
	}
	m.Etcd, err = rebuildFetched(ctx, from, staging, tell)
	if err == nil {
		err = ctx.Err() // from here on it is done
	}
	if err != nil {
		return m, errors.Join(err, stay(context.WithoutCancel(ctx)))
	}
	m.Aside, err = h.Replace("etcd")
	return m, err
}

// rebuildFetched makes etcd/ below staging of all that an etcd of the user's has.
func rebuildFetched(ctx context.Context, from wiring.Etcd, staging string, tell Tell) (is etcd.Database, err error) {
	database := filepath.Join(staging, MainName)
	if is, err = fetch(ctx, from, database, staging, tell.at("fetching etcd")); err != nil {
		return is, err
	}
	// Its users are not those of an embedded one, which lets nobody in before it knows them.
	fetched := filepath.Join(staging, "fetched")
	if err := etcd.Restore(etcd.Restoration{Snapshot: database, Dir: fetched, Member: etcd.Embedded}); err != nil {
		return is, err
	}
	if err := os.Remove(database); err != nil {
		return is, err
	}
	return rebuild(ctx, fetched, staging, filepath.Join(staging, "etcd"), etcd.Embedded, true, tell)
}

// rebuild makes a data directory of an etcd of one member of another one's, with the same
// revisions.
func rebuild(ctx context.Context, from, scratch, to string, member etcd.Member, open bool, tell Tell) (is etcd.Database, err error) {
	stored := filepath.Join(from, "member", "snap", "db")
	info, err := os.Stat(stored)
	if err != nil {
		return is, fmt.Errorf("%s holds no data of an etcd: %w", from, err)
	}
	if err := checkRoom(map[string]int64{scratch: 3 * info.Size()}); err != nil {
		return is, err
	}
	work := filepath.Join(scratch, "copy")
	if err := os.Mkdir(work, 0o700); err != nil {
		return is, err
	}
	database := filepath.Join(scratch, MainName)
	is, err = etcd.Extract(ctx, etcd.Extraction{Dir: from, Scratch: work, To: database, Open: open}, tell.at("copying etcd"))
	if err != nil {
		return is, err
	}
	tell("making etcd's data", 0, 1)
	if err := etcd.Restore(etcd.Restoration{Snapshot: database, Dir: to, Member: member, Unhashed: true}); err != nil {
		return is, err
	}
	tell("making etcd's data", 1, 1)
	return is, errors.Join(os.RemoveAll(work), os.Remove(database))
}

// copyKeys copies what kubeadm and a data directory call the same.
func copyKeys(from, to string) error {
	for _, name := range kubeadmKeys {
		file := File{Path: filepath.Join(from, filepath.FromSlash(name))}
		err := put(file, filepath.Join(to, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) && !isNeeded(name) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot take %s over: %w", file.Path, err)
		}
	}
	return nil
}

func isNeeded(name string) bool {
	for _, needed := range neededKeys {
		if name == needed {
			return true
		}
	}
	return false
}

func put(f File, to string) error {
	mode, data := fs.FileMode(0o600), f.Data
	if f.Path != "" {
		var err error
		if data, err = os.ReadFile(f.Path); err != nil {
			return err
		}
		info, err := os.Stat(f.Path)
		if err != nil {
			return err
		}
		mode = info.Mode().Perm() &^ 0o022
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return datadir.WriteFile(to, data, mode)
}
