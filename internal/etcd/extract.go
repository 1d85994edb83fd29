package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// inUseTimeout is how long is waited for whoever has the data open.
const inUseTimeout = time.Second

// Extraction says what becomes of the data of a stopped etcd, whoever ran it.
type Extraction struct {
	// Dir is its data directory, which is only read. Scratch is an empty folder for a copy.
	Dir, Scratch string
	// To is the file to write: a database without etcd's hash.
	To string
	// Open turns authentication off in what is written.
	Open bool
}

// Extract writes all that a stopped etcd of one member had acknowledged into a file, also what
// is in its log alone, as after a crash. Of a member of several it is what that one knows.
func Extract(ctx context.Context, e Extraction, tell func(done, total int64)) (is Database, err error) {
	if err := copyData(e.Dir, e.Scratch, tell); err != nil {
		return is, err
	}
	// A socket's path must be short.
	socket, err := os.MkdirTemp("", "triptych")
	if err != nil {
		return is, err
	}
	defer os.RemoveAll(socket)
	failures := newFailures()
	log, err := newLogger("panic", failures)
	if err != nil {
		return is, err
	}
	server, err := start(ctx, alone(e.Scratch, filepath.Join(socket, "c"), log), log, failures)
	if err != nil {
		return is, fmt.Errorf("cannot open the data of %s: %w", e.Dir, err)
	}
	if server == nil {
		return is, ctx.Err()
	}
	err = extract(ctx, server, failures, e)
	server.Close()
	if err != nil {
		return is, fmt.Errorf("cannot read the data of %s: %w", e.Dir, err)
	}
	return inspect(e.To)
}

// alone is an etcd that nobody can call, on a copy of data: if that is of a cluster, of which it is the only one.
func alone(dir, socket string, log *zap.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir, c.ForceNewCluster = defaultName, dir, true
	c.TickMs, c.ElectionMs = tickMs, electionMs
	client := url.URL{Scheme: "unix", Path: socket}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{peerURL}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "0"
	c.EnableGRPCGateway, c.EnablePprof = false, false
	c.QuotaBackendBytes = -1 // what is full has to be copied, too
	c.LogLevel, c.ZapLoggerBuilder = "panic", embed.NewZapLoggerBuilder(log)
	return c
}

func extract(ctx context.Context, server *embed.Etcd, failures *failures, e Extraction) error {
	select {
	case <-server.Server.ReadyNotify(): // all of the log was applied
	case err := <-failures.first:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.Open {
		server.Server.AuthStore().AuthDisable()
	}
	snapshot := server.Server.Backend().Snapshot()
	defer snapshot.Close()
	file, err := os.OpenFile(e.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := snapshot.WriteTo(file); err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// copyData copies what a member is made of, while nobody has it open.
func copyData(from, to string, tell func(done, total int64)) error {
	path := filepath.Join(from, "member", "snap", "db")
	held, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: inUseTimeout})
	if errors.Is(err, berrors.ErrTimeout) {
		return fmt.Errorf("an etcd is running on %s: stop it first, and whoever writes to it", from)
	}
	if err != nil {
		return fmt.Errorf("cannot open the data of etcd: %w", err)
	}
	defer held.Close()
	member := filepath.Join(from, "member")
	total := int64(0)
	err = filepath.WalkDir(member, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot read the data of etcd: %w", err)
	}
	done := int64(0)
	return filepath.WalkDir(member, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, below)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return copyFile(path, target, &counter{to: io.Discard, total: total, done: done, tell: func(now, total int64) { done = now; tell(now, total) }})
	})
}

func copyFile(from, to string, count io.Writer) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer target.Close()
	if _, err := io.Copy(io.MultiWriter(target, count), source); err != nil {
		return err
	}
	return target.Close()
}
