package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// snapshots is the schedule of snapshots as it stands.
type snapshots struct {
	// one is held by who takes one.
	one chan struct{}

	mu       sync.Mutex
	next     time.Time
	last     *control.Snapshot
	problem  string
	failures int
}

const (
	// scheduledTime is how the names of snapshots tell when they were taken, in UTC.
	scheduledTime = "20060102T150405Z"
	// retryPause is the time before a snapshot that failed is tried again; it doubles up to
	// maxRetryPause, and does not go beyond the next one that is due.
	retryPause, maxRetryPause = time.Minute, time.Hour
)

// scheduled are the names of snapshots of ours. No other file is ever deleted.
var scheduled = regexp.MustCompile(`^triptych-(\d{8}T\d{6}Z)\.tar(\.age)?$`)

// takeBySchedule takes snapshots until the chain stops. Others wait for nothing of it.
func (v *Supervisor) takeBySchedule() error {
	ctx, cancel := v.untilStopping(context.Background())
	defer cancel()
	if o := v.setup.options.Snapshots; o.Schedule.On() {
		v.followSchedule(ctx, o)
	}
	<-v.chain.done
	return nil
}

func (v *Supervisor) followSchedule(ctx context.Context, o options.Snapshots) {
	if err := v.chain.await(ctx, func(s Snapshot) (bool, error) { return s.Phase == lifecycle.PhaseReady, nil }); err != nil {
		return
	}
	dir := v.setup.snapshotDir()
	for pause := retryPause; ctx.Err() == nil; {
		last, err := newestSnapshot(dir)
		if err != nil {
			v.endSnapshot(err)
		}
		due, again := v.snapshots.due(&o.Schedule, takenAt(last), time.Now(), pause)
		if again {
			pause = min(2*pause, maxRetryPause)
		}
		v.snapshots.plan(last, due)
		v.tellSnapshots(ctx)
		if !sleepUntil(ctx, due) {
			return
		}
		taken, err := v.takeScheduled(ctx, dir, o)
		if ctx.Err() != nil {
			return
		}
		v.endSnapshot(err)
		if err != nil {
			continue
		}
		pause = retryPause
		v.print.Say("snapshot: took %s by schedule, %d keys, revision %d", taken.Path, taken.Keys, taken.Revision)
	}
}

func (v *Supervisor) endSnapshot(err error) {
	if err != nil {
		v.print.Say("warning: snapshot: %v", err)
	}
	v.snapshots.end(err)
}

func sleepUntil(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// takeScheduled takes one and removes those that are too many.
func (v *Supervisor) takeScheduled(ctx context.Context, dir string, o options.Snapshots) (control.Snapshot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return control.Snapshot{}, fmt.Errorf("cannot make the folder of snapshots: %w", err)
	}
	seal := backup.Seal{RecipientsFile: o.RecipientsFile}
	name := "triptych-" + time.Now().UTC().Format(scheduledTime) + ".tar"
	if seal.On() {
		name += ".age"
	}
	done, err := v.take(ctx, filepath.Join(dir, name), seal, func(string, int64, int64) {})
	if err != nil {
		return done, err
	}
	return done, prune(dir, o.Keep)
}

// prune removes the oldest snapshots beyond as many as are kept.
func prune(dir string, keep int) error {
	all, err := listSnapshots(dir)
	if err != nil {
		return err
	}
	for _, old := range all[min(keep, len(all)):] {
		err = errors.Join(err, os.Remove(old.Path))
	}
	return err
}

// listSnapshots returns those of the schedule, the newest first.
func listSnapshots(dir string) ([]control.Snapshot, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the folder of snapshots: %w", err)
	}
	var all []control.Snapshot
	for _, entry := range entries {
		parts := scheduled.FindStringSubmatch(entry.Name())
		if parts == nil {
			continue
		}
		taken, err := time.Parse(scheduledTime, parts[1])
		info, infoErr := entry.Info()
		if err != nil || infoErr != nil || !info.Mode().IsRegular() {
			continue
		}
		all = append(all, control.Snapshot{Path: filepath.Join(dir, entry.Name()), Taken: taken, Bytes: info.Size()})
	}
	slices.SortFunc(all, func(a, b control.Snapshot) int { return b.Taken.Compare(a.Taken) })
	return all, nil
}

func newestSnapshot(dir string) (*control.Snapshot, error) {
	all, err := listSnapshots(dir)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func takenAt(s *control.Snapshot) time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.Taken
}

func (s *setup) snapshotDir() string {
	if dir := s.options.Snapshots.Dir; dir != "" {
		return dir
	}
	return s.dir.Snapshots()
}

// due is when the next is, and whether one that failed is tried again: after pause, or when the
// next is due if that is earlier.
func (s *snapshots) due(schedule *options.Schedule, last, now time.Time, pause time.Duration) (due time.Time, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due, again = schedule.Next(last, now), s.problem != ""
	if soon := now.Add(pause); again && (due.After(soon) || !due.After(now)) {
		due = soon
	}
	return due, again
}

func (s *snapshots) plan(last *control.Snapshot, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.next = last, due
}

func (s *snapshots) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = ""
	if err != nil {
		s.problem = err.Error()
		s.failures++
	}
}

// snapshotStatus is nil without a schedule.
func (v *Supervisor) snapshotStatus() *control.Snapshots {
	o := v.setup.options.Snapshots
	if !o.Schedule.On() {
		return nil
	}
	v.snapshots.mu.Lock()
	defer v.snapshots.mu.Unlock()
	is := &control.Snapshots{
		Schedule: o.Schedule.String(), Dir: v.setup.snapshotDir(), Keep: o.Keep,
		Last: v.snapshots.last, Problem: v.snapshots.problem, Failures: v.snapshots.failures,
	}
	if next := v.snapshots.next.UTC(); !v.snapshots.next.IsZero() {
		is.Next = &next
	}
	return is
}

// tellSnapshots has the head's metrics say how the schedule stands.
func (v *Supervisor) tellSnapshots(ctx context.Context) {
	is := v.snapshotStatus()
	now := &wiring.Snapshots{Failures: is.Failures, Failed: is.Problem != ""}
	if is.Last != nil {
		now.LastSuccess = is.Last.Taken.Unix()
	}
	v.setup.snapshots.Store(now)
	if err := v.rewire(ctx, ""); err != nil && ctx.Err() == nil {
		v.print.Say("warning: snapshot: the metrics do not tell of it: %v", err)
	}
}

func (s *setup) snapshotWiring(name tier.Name) *wiring.Snapshots {
	if name != s.head {
		return nil
	}
	return s.snapshots.Load()
}
