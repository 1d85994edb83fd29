package options

import (
	"testing"
	"time"
)

func TestASnapshotIsDueByIntervalOrCron(t *testing.T) {
	now := time.Date(2030, 1, 1, 11, 30, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"2h":          now.Add(time.Hour),
		"30m":         now,
		"0 */6 * * *": time.Date(2030, 1, 1, 12, 0, 0, 0, time.Local),
		"@daily":      time.Date(2030, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		var s Schedule
		if err := s.Set(text); err != nil || !s.On() || s.String() != text {
			t.Errorf("%s: %v", text, err)
		}
		if got := s.Next(now.Add(-time.Hour), now); !got.Equal(want) {
			t.Errorf("%s: due %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", "often", "1s", "-6h", "* * *"} {
		var s Schedule
		if err := s.Set(text); err == nil || s.On() {
			t.Errorf("%q was taken", text)
		}
	}
}
