package options

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/backup"
)

// Snapshots are those that the supervisor takes by itself.
type Snapshots struct {
	// Schedule is when; the zero value is never.
	Schedule Schedule
	// Keep is how many are kept.
	Keep int
	// Dir is where they are put; empty is a folder of the data directory.
	Dir string
	// RecipientsFile holds the public keys of age that they are encrypted for; empty is
	// for everybody who has the file.
	RecipientsFile string
}

const (
	// defaultKeep is a day of a snapshot every three hours.
	defaultKeep = 8
	// shortestPause is between two snapshots.
	shortestPause = time.Minute
)

func (s *Snapshots) addFlags(fs *pflag.FlagSet) {
	fs.Var(&s.Schedule, "snapshot-schedule", `when snapshots are taken: 6h, or a cron expression; never by default`)
	fs.IntVar(&s.Keep, "snapshot-keep", s.Keep, "how many of those are kept")
	fs.StringVar(&s.Dir, "snapshot-dir", s.Dir, "folder of those; by default snapshots in the data directory")
	fs.StringVar(&s.RecipientsFile, "snapshot-recipients", s.RecipientsFile, "file with public keys of age that those are encrypted for")
}

func (s *Snapshots) check() error {
	if s.Keep < 1 {
		return fmt.Errorf("--snapshot-keep=%d would keep none: want 1 or more", s.Keep)
	}
	if !s.Schedule.On() {
		if s.Dir+s.RecipientsFile != "" {
			return errors.New("--snapshot-dir and --snapshot-recipients are for snapshots by schedule: give --snapshot-schedule too")
		}
		return nil
	}
	if s.Dir != "" && !filepath.IsAbs(s.Dir) {
		dir, err := filepath.Abs(s.Dir)
		if err != nil {
			return fmt.Errorf("--snapshot-dir: %w", err)
		}
		s.Dir = dir
	}
	if err := (backup.Seal{RecipientsFile: s.RecipientsFile}).Check(); err != nil {
		return fmt.Errorf("--snapshot-recipients: %w", err)
	}
	return nil
}

// Schedule is when something is done again and again: in intervals, or by a cron expression.
type Schedule struct {
	text  string
	every time.Duration
	cron  cron.Schedule
}

// On tells whether there is one.
func (s *Schedule) On() bool { return s.text != "" }

// Next is when it is due again, after the last time, which is zero if there was none. The
// times of a cron expression are local ones.
func (s *Schedule) Next(last, now time.Time) time.Time {
	if s.cron != nil {
		return s.cron.Next(now)
	}
	if next := last.Add(s.every); next.After(now) {
		return next
	}
	return now
}

// Set implements pflag.Value.
func (s *Schedule) Set(value string) error {
	if every, err := time.ParseDuration(value); err == nil {
		if every < shortestPause {
			return fmt.Errorf("%s is too often: want %s or more", value, shortestPause)
		}
		*s = Schedule{text: value, every: every}
		return nil
	}
	parsed, err := cron.ParseStandard(value)
	if err != nil {
		return fmt.Errorf(`%q is neither an interval like 6h nor a cron expression like "0 */6 * * *"`, value)
	}
	*s = Schedule{text: value, cron: parsed}
	return nil
}

// String implements pflag.Value.
func (s *Schedule) String() string { return s.text }

// Type implements pflag.Value.
func (s *Schedule) Type() string { return "WHEN" }
