package logline

import (
	"testing"
	"time"
)

func TestALineIsStampedByItsOwnFormat(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	at := time.Date(2026, 1, 1, 15, 4, 5, 123456000, time.UTC)
	for line, want := range map[string]Stamp{
		"I0101 15:04:05.123456   12345 server.go:1] \"Serving\"":                                             {Time: at, PID: 12345},
		"E1231 15:04:05.123456       7 server.go:1] of last year":                                            {Time: at.AddDate(0, 0, -1), PID: 7},
		"2026-01-01T15:04:05.123456Z core-0: ready (1s)":                                                     {Time: at},
		`{"level":"info","ts":"2026-01-01T15:04:05.123456Z","msg":"etcd"}`:                                   {Time: at},
		`{"level":"info","ts":"2026-01-01T15:04:05.123456+0000","msg":"etcd"}`:                               {Time: at},
		`{"triptych.tier":"core","triptych.replica":"core-1","ts":1767279845123.456,"msg":"x","caller":"y"}`: {Time: at, Replica: "core-1"},
	} {
		got, ok := Read(line, now)
		if !ok || !got.Time.Equal(want.Time) || got.PID != want.PID || got.Replica != want.Replica {
			t.Errorf("%s: %+v %v, want %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "{", "{}", "panic: x", "Igor was here 15:04:05.123456 and more of it", "goroutine 1 [running]:", "E", "W9999 99:99:99.999999       7 x] y"} {
		if got, ok := Read(line, now); ok {
			t.Errorf("%q: %+v", line, got)
		}
	}
}
