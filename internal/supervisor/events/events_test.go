package events

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

func TestEventsAreReadAsTheyWereWrittenByOneSupervisorAfterAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if all, err := Read(path); err != nil || len(all) > 0 {
		t.Errorf("before the first: %v %v", all, err)
	}
	want := []Event{
		{Time: time.Unix(1, 2).UTC(), Process: "core-0", PID: 7, Kind: State, From: "ready", To: "backoff", Reason: "signal SIGKILL"},
		{Time: time.Unix(2, 0).UTC(), Process: "core-0", Kind: Stage, To: "ready", Seconds: 1.5},
	}
	for _, e := range want {
		r := NewRecorder(path)
		r.Record(e)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"time":"2026-`) // the power fails
	f.Close()
	all, err := Read(path)
	if err != nil || len(all) != 2 || all[0] != want[0] || all[1] != want[1] {
		t.Errorf("%+v %v", all, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestTheFilesStaySmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	r := NewRecorder(path)
	for range 3 * megabytes {
		for range 16 {
			r.Record(Event{Process: "core-0", Kind: Note, Reason: strings.Repeat("x", 1<<16)})
		}
	}
	r.Record(Event{Process: "core-0", Kind: Note, Reason: "the last"})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// What is one too many is removed in the background.
	small := func(context.Context) (bool, error) {
		files, size := 0, int64(0)
		_ = filepath.Walk(filepath.Dir(path), func(_ string, info os.FileInfo, _ error) error {
			if !info.IsDir() {
				files, size = files+1, size+info.Size()
			}
			return nil
		})
		return files <= 1+backups && size <= (1+backups)*megabytes<<20, nil
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, small); err != nil {
		t.Error(err)
	}
	if all, err := Read(path); err != nil || len(all) == 0 || all[len(all)-1].Reason != "the last" {
		t.Errorf("%d events, %v", len(all), err)
	}
}

func TestAnEventIsOfItsReplicaAndItsTier(t *testing.T) {
	e := Event{Process: "core-1"}
	if !e.Of("core") || !e.Of("core-1") || e.Of("core-10") || e.Of("co") || e.Of("etcd") {
		t.Error(e)
	}
}
