package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"triptych.dev/triptych/internal/supervisor/options"
)

func TestTheOldestSnapshotsAreRemovedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"triptych-20300101T000000Z.tar", "triptych-20300103T000000Z.tar.age", "triptych-20300102T000000Z.tar", "triptych-20300104T000000Z.tar.gz", "other.tar"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, 2); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if got := fmt.Sprint(left); got != "[other.tar triptych-20300102T000000Z.tar triptych-20300103T000000Z.tar.age triptych-20300104T000000Z.tar.gz]" {
		t.Error(got)
	}
	if all, err := listSnapshots(filepath.Join(dir, "missing")); err != nil || all != nil {
		t.Errorf("%v %v", all, err)
	}
}

func TestFailuresAreTriedAgainSoonAndTold(t *testing.T) {
	var every options.Schedule
	if err := every.Set("6h"); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	s := &snapshots{}
	for _, c := range []struct {
		last  time.Time
		err   error
		pause time.Duration
		want  time.Time
	}{
		{time.Time{}, nil, time.Minute, now},
		{now.Add(-time.Hour), nil, time.Minute, now.Add(5 * time.Hour)},
		{now.Add(-7 * time.Hour), nil, time.Minute, now},
		{time.Time{}, errors.New("no disk"), time.Minute, now.Add(time.Minute)},
		{now.Add(-time.Hour), errors.New("no disk"), time.Hour, now.Add(time.Hour)},
		{now.Add(-6*time.Hour + time.Second), errors.New("no disk"), time.Hour, now.Add(time.Second)},
	} {
		s.end(c.err)
		if got, again := s.due(&every, c.last, now, c.pause); !got.Equal(c.want) || again != (c.err != nil) {
			t.Errorf("last %s, %v: due %s, want %s", c.last, c.err, got, c.want)
		}
	}
	if s.failures != 3 || s.problem != "no disk" {
		t.Errorf("%d failures, %q", s.failures, s.problem)
	}
	s.end(nil)
	if s.failures != 3 || s.problem != "" {
		t.Errorf("%d failures, %q", s.failures, s.problem)
	}
}
