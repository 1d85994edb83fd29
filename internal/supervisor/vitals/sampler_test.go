package vitals

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/control"
)

// source is a supervisor that says what it is told to.
type source struct {
	status                control.Status
	metrics               control.Metrics
	statusErr, metricsErr error
}

func (s *source) Status(context.Context) (*control.Status, error) {
	is := s.status
	return &is, s.statusErr
}

func (s *source) Metrics(context.Context) (*control.Metrics, error) {
	if s.metricsErr != nil {
		return nil, s.metricsErr
	}
	is := s.metrics
	return &is, nil
}

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// counted is a reading at so many seconds, of a process that has answered so many requests, each in half a second.
func counted(name string, pid int, second float64, requests uint64) control.ProcessMetrics {
	return control.ProcessMetrics{
		Name: name, PID: pid, Time: epoch.Add(time.Duration(second * float64(time.Second))), CPUSeconds: float64(requests) / 100, MemoryBytes: 1 << 20,
		Counters: &control.Counters{
			Requests: float64(requests), InFlight: 1, Watches: 2,
			Latency: control.Histogram{Bounds: []float64{0.5, 1}, Counts: []uint64{0, requests}, Count: requests},
		},
	}
}

func two() *source {
	started := epoch.Add(-time.Hour)
	replica := func(name string, pid int) control.Replica {
		return control.Replica{Name: name, PID: pid, Stage: "ready", StartedAt: &started, Version: "v1"}
	}
	return &source{
		status: control.Status{Phase: "Ready", Etcd: control.Etcd{Embedded: true, PID: 9}, Tiers: []control.Tier{
			{Name: "core", Replicas: []control.Replica{replica("core-0", 1), replica("core-1", 2), {Name: "core-2", Remote: true, Stage: "ready"}}},
		}},
		metrics: control.Metrics{
			Storage: &control.Storage{SizeBytes: 5, QuotaBytes: 10},
			Processes: []control.ProcessMetrics{
				counted("core-0", 1, 0, 100), counted("core-1", 2, 0, 200),
				{Name: "etcd", PID: 9, Time: epoch, CPUSeconds: 1, MemoryBytes: 1 << 20},
			},
		},
	}
}

func sample(t *testing.T, s *Sampler) Sample {
	t.Helper()
	got, err := s.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(got); err != nil {
		t.Errorf("%+v: %v", got, err)
	}
	return got
}

func want(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-9 {
		t.Errorf("%s is not %v: %v", what, want, text(got))
	}
}

func text(n *float64) any {
	if n == nil {
		return "not known"
	}
	return *n
}

func TestRatesAreOfTheTimeBetweenTwoReadings(t *testing.T) {
	from := two()
	s := NewSampler(from)
	first := sample(t, s)
	if l := first.Tiers[0].Replicas[0]; l.RequestsPerSecond != nil || l.CPUPercent != nil || l.LatencyP99Seconds != nil || *l.InFlight != 1 || *l.MemoryBytes != 1<<20 {
		t.Errorf("the first: %+v", l)
	}
	from.metrics.Processes = []control.ProcessMetrics{
		counted("core-0", 1, 2, 140), counted("core-1", 2, 2, 200), {Name: "etcd", PID: 9, Time: epoch.Add(2 * time.Second), CPUSeconds: 2, MemoryBytes: 1 << 20},
	}
	got := sample(t, s)
	core := got.Tiers[0]
	want(t, "rate", core.Replicas[0].RequestsPerSecond, 20)
	want(t, "CPU", core.Replicas[0].CPUPercent, 20)
	want(t, "p99", core.Replicas[0].LatencyP99Seconds, 0.995)
	want(t, "rate of an idle one", core.Replicas[1].RequestsPerSecond, 0)
	if is := core.Replicas[1].LatencyP99Seconds; is != nil {
		t.Errorf("nothing took %v", *is)
	}
	want(t, "rate of the tier", core.RequestsPerSecond, 20)
	want(t, "CPU with etcd", got.Total.CPUPercent, 70)
	want(t, "CPU of etcd", got.Etcd.CPUPercent, 50)
	if *got.Total.Watches != 4 || *got.Total.MemoryBytes != 3<<20 || *got.Etcd.SizeBytes != 5 || *got.Etcd.QuotaBytes != 10 || got.Version != "v1" {
		t.Errorf("%+v", got)
	}
	if r := core.Replicas[2]; !r.Remote || r.RequestsPerSecond != nil || r.MemoryBytes != nil {
		t.Errorf("nothing is known of another host's: %+v", r)
	}
}

// A process in the place of another has counters of its own, whatever they are.
func TestAProcessThatWasReplacedBeganAtItsStart(t *testing.T) {
	from := two()
	s := NewSampler(from)
	s.compare(&from.status, &from.metrics, epoch)
	started := epoch.Add(time.Second)
	from.status.Tiers[0].Replicas[0] = control.Replica{Name: "core-0", PID: 7, Stage: "ready", StartedAt: &started, Restarts: 1, LastExit: &control.Exit{Signal: "SIGKILL"}}
	from.metrics.Processes[0], from.metrics.Processes[1] = counted("core-0", 7, 3, 150), counted("core-1", 2, 3, 200)
	got := s.compare(&from.status, &from.metrics, epoch.Add(3*time.Second)).Tiers[0].Replicas[0]
	want(t, "rate", got.RequestsPerSecond, 75)
	if got.Restarts != 1 || got.LastExit.Signal != "SIGKILL" || *got.UptimeSeconds != 2 {
		t.Errorf("%+v", got)
	}
	// The place without its process has no numbers, and neither has one whose reading is of another process.
	from.status.Tiers[0].Replicas[0] = control.Replica{Name: "core-0", Stage: "backoff", Restarts: 1}
	if got := s.compare(&from.status, &from.metrics, epoch.Add(4*time.Second)).Tiers[0].Replicas[0]; got.RequestsPerSecond != nil || got.UptimeSeconds != nil {
		t.Errorf("%+v", got)
	}
}

func TestACounterThatWasResetIsCountedFromZero(t *testing.T) {
	from := two()
	s := NewSampler(from)
	sample(t, s)
	from.metrics.Processes[0] = counted("core-0", 1, 2, 30)
	got := sample(t, s).Tiers[0].Replicas[0]
	want(t, "rate", got.RequestsPerSecond, 15)
	want(t, "p99", got.LatencyP99Seconds, 0.995)
}

func TestAClockThatWasSetBackMakesNoRates(t *testing.T) {
	from := two()
	s := NewSampler(from)
	sample(t, s)
	from.metrics.Processes[0] = counted("core-0", 1, -100, 130)
	if got := sample(t, s).Tiers[0].Replicas[0]; got.RequestsPerSecond != nil || got.CPUPercent != nil {
		t.Errorf("%+v", got)
	}
}

func TestWhoGivesNoMetricsIsNamedAndOthersAreTold(t *testing.T) {
	from := two()
	s := NewSampler(from)
	sample(t, s)
	mute := counted("core-0", 1, 2, 0)
	mute.Counters, mute.Problem, mute.CPUSeconds = nil, "no metrics of it", 2
	from.metrics.Processes[0], from.metrics.Processes[1] = mute, counted("core-1", 2, 2, 220)
	core := sample(t, s).Tiers[0]
	if r := core.Replicas[0]; r.Problem != "no metrics of it" || r.RequestsPerSecond != nil {
		t.Errorf("%+v", r)
	}
	want(t, "CPU of who is mute", core.Replicas[0].CPUPercent, 50)
	want(t, "rate of the tier", core.RequestsPerSecond, 10)
}

func TestASupervisorThatIsAwayCostsNothing(t *testing.T) {
	from := two()
	s := NewSampler(from)
	sample(t, s)
	from.statusErr = control.ErrNotRunning
	if _, err := s.Sample(t.Context()); !errors.Is(err, control.ErrNotRunning) {
		t.Error(err)
	}
	from.statusErr = nil
	from.metrics.Processes[0] = counted("core-0", 1, 2, 140)
	want(t, "rate", sample(t, s).Tiers[0].Replicas[0].RequestsPerSecond, 20)
	from.metricsErr = errors.New("404")
	if got := sample(t, s); len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "404") || len(got.Tiers[0].Replicas) != 3 {
		t.Errorf("%+v", got)
	}
}

func TestNotesSayWhatIsWrong(t *testing.T) {
	from := two()
	from.status.Etcd.Problem = "full"
	from.status.Certificates.Problem = "about to end"
	from.status.Upgrade = &control.Upgrade{State: "Held", Step: "waits"}
	from.status.Reasons = []string{"core is stopped by operator: supervisor start core brings it back"}
	from.metrics.Storage = nil
	from.metrics.Processes[0].Counters.StorageBytes = 77
	got := sample(t, NewSampler(from))
	if all := strings.Join(got.Notes, "\n"); all != from.status.Reasons[0]+"\netcd: full\nupgrade Held: waits\ncertificates: about to end" {
		t.Error(all)
	}
	if *got.Etcd.SizeBytes != 77 || got.Etcd.QuotaBytes != nil {
		t.Errorf("an etcd of the user's: %+v", got.Etcd)
	}
}
