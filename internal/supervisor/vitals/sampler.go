package vitals

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/internal/control"
)

// Source is what a Sampler asks: a control.Client.
type Source interface {
	Status(ctx context.Context) (*control.Status, error)
	Metrics(ctx context.Context) (*control.Metrics, error)
}

// Sampler takes samples of one control plane. It remembers the last reading, so whoever shows rates keeps it. It is not
// for several goroutines.
type Sampler struct {
	source Source
	// before are the last readings by name, taken at.
	before map[string]control.ProcessMetrics
	at     time.Time
}

// NewSampler returns a Sampler that asks source. Nothing is asked yet.
func NewSampler(source Source) *Sampler { return &Sampler{source: source} }

// Sample takes a sample. The first one has no rates; those of later ones are of the time since the last call that
// succeeded. An error is that of the status, control.ErrNotRunning among them, and costs nothing: the next call goes on.
// ctx bounds it.
func (s *Sampler) Sample(ctx context.Context) (Sample, error) {
	var (
		status  *control.Status
		metrics *control.Metrics
		noted   []string
	)
	group, asking := errgroup.WithContext(ctx)
	group.Go(func() (err error) { status, err = s.source.Status(asking); return err })
	group.Go(func() (err error) {
		if metrics, err = s.source.Metrics(asking); err != nil && asking.Err() == nil {
			noted = append(noted, fmt.Sprintf("no metrics: %v", err)) // the status tells more, or fails too
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return Sample{}, err
	}
	if metrics == nil || noted != nil {
		metrics = &control.Metrics{}
	}
	now := time.Now()
	sample := s.compare(status, metrics, now)
	sample.Notes = append(sample.Notes, noted...)
	return sample, nil
}

// compare makes a sample of the reading that was taken at now, and remembers it.
func (s *Sampler) compare(status *control.Status, metrics *control.Metrics, now time.Time) Sample {
	sample := Sample{Time: now, Phase: status.Phase, SecureURL: status.SecureURL, Notes: notes(status)}
	if !s.at.IsZero() {
		sample.IntervalSeconds = now.Sub(s.at).Seconds()
	}
	read := map[string]control.ProcessMetrics{}
	for _, p := range metrics.Processes {
		read[p.Name] = p
	}
	var total change
	for _, t := range status.Tiers {
		tier, sum := Tier{Name: t.Name, Replicas: []Replica{}}, change{}
		for _, r := range t.Replicas {
			replica := replicaOf(r, now)
			if p, ok := read[r.Name]; ok && p.PID == r.PID {
				c := s.change(p, r.StartedAt)
				sum.add(c)
				replica.Load, replica.Problem = c.load(), joined(replica.Problem, p.Problem)
				replica.OpenFiles = known(int64(p.OpenFiles), p.OpenFiles > 0)
				replica.MaxFiles = known(int64(p.MaxFiles), p.MaxFiles > 0 && int64(p.MaxFiles) > 0)
				replica.Threads = known(int64(p.Threads), p.Threads > 0)
			}
			if sample.Version == "" {
				sample.Version = r.Version
			}
			tier.Replicas = append(tier.Replicas, replica)
		}
		tier.Load = sum.load()
		total.add(sum)
		sample.Tiers = append(sample.Tiers, tier)
	}
	sample.Etcd = Etcd{Embedded: status.Etcd.Embedded, PID: status.Etcd.PID, Problem: status.Etcd.Problem}
	if p, ok := read["etcd"]; ok {
		c := s.change(p, nil)
		l := c.load()
		sample.Etcd.CPUPercent, sample.Etcd.MemoryBytes = l.CPUPercent, l.MemoryBytes
		total.add(c)
	}
	sample.Etcd.store(metrics)
	sample.Total = total.load()
	s.before, s.at = read, now
	return sample
}

// change compares a reading with the one before it of the same process.
func (s *Sampler) change(now control.ProcessMetrics, started *time.Time) change {
	before, ok := s.before[now.Name]
	switch {
	case ok && before.PID == now.PID:
		return changeOf(now, &before)
	case started != nil && !s.at.IsZero() && started.After(s.at):
		return changeOf(now, unborn(*started))
	}
	return changeOf(now, nil)
}

// store fills in how large the database is: what etcd says, or else what a tier of it knows.
func (e *Etcd) store(m *control.Metrics) {
	if m.Storage != nil {
		e.SizeBytes, e.QuotaBytes, e.Full = &m.Storage.SizeBytes, &m.Storage.QuotaBytes, m.Storage.Full
		return
	}
	for _, p := range m.Processes {
		if p.Counters != nil && p.Counters.StorageBytes > 0 {
			e.SizeBytes = &p.Counters.StorageBytes
			return
		}
	}
}

func replicaOf(r control.Replica, now time.Time) Replica {
	is := Replica{
		Name: r.Name, PID: r.PID, Stage: r.Stage, Remote: r.Remote, Restarts: r.Restarts, LastExit: r.LastExit,
		Version: r.Version, MemoryLimitBytes: r.MemoryLimitBytes, Problem: r.Problem,
	}
	if r.StartedAt != nil && r.PID != 0 {
		is.UptimeSeconds = known(max(now.Sub(*r.StartedAt).Seconds(), 0), true)
	}
	return is
}

func joined(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// notes are what a status has to say that concerns no replica alone.
func notes(s *control.Status) []string {
	all := slices.Clone(s.Reasons)
	note := func(what, text string) {
		if text != "" {
			all = append(all, what+": "+text)
		}
	}
	note("etcd", s.Etcd.Problem)
	if u := s.Upgrade; u != nil && u.State != "Done" {
		note("upgrade "+u.State, joined(u.Step, u.Problem))
	}
	note("certificates", s.Certificates.Problem)
	if s.Snapshots != nil {
		note("snapshots", s.Snapshots.Problem)
	}
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			if r.Tunnels != nil {
				note(r.Name, r.Tunnels.Problem)
			}
		}
	}
	return all
}
