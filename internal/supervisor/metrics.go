package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/vitals"
	"triptych.dev/triptych/internal/tier"
)

const (
	// metricsTimeout bounds what each process is asked: one that is stuck must not hide the others for long.
	metricsTimeout = 2 * time.Second
	// metricsBytes bounds an answer: those families take some hundred KiB of a busy process.
	metricsBytes = 32 << 20
)

// Metrics implements control.Supervisor. Processes are asked side by side, and each by itself: that the head is away hides
// no other.
func (v *Supervisor) Metrics(ctx context.Context) control.Metrics {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	now, _ := v.chain.Snapshot()
	var readings []*control.ProcessMetrics
	var all sync.WaitGroup
	read := func(name string, ask func() (*control.Counters, error)) {
		is := now.Children[name]
		if is.PID == 0 {
			return
		}
		m := &control.ProcessMetrics{Name: name, PID: is.PID}
		readings = append(readings, m)
		all.Go(func() {
			if ask != nil && serves(is.State) {
				var err error
				if m.Counters, err = ask(); err != nil {
					m.Problem = "no metrics of it: " + err.Error()
				}
			}
			m.Time = time.Now().UTC()
			takeUsage(m)
		})
	}
	for _, name := range slices.Backward(tier.UpTo(v.setup.head)) {
		for _, p := range v.setup.sockets.of(name) {
			read(replica(name, p.index), func() (*control.Counters, error) { return v.counters(ctx, name, p) })
		}
	}
	read(Etcd, nil)
	storage := v.storage(ctx)
	all.Wait()
	m := control.Metrics{Processes: []control.ProcessMetrics{}, Storage: storage}
	for _, r := range readings {
		m.Processes = append(m.Processes, *r)
	}
	return m
}

// serves tells whether a process has anything to say: one that starts knows of no request, and may not answer yet.
func serves(s lifecycle.State) bool {
	return s == lifecycle.Ready || s == lifecycle.Unready || s == lifecycle.Stopping
}

// counters asks one process, as an administrator whom the tier before it has judged: what is read every few seconds leaves
// no trace in the audit log, and in no metric but the head's.
func (v *Supervisor) counters(ctx context.Context, name tier.Name, p *place) (*control.Counters, error) {
	caller, path := v.setup.head, "/metrics"
	if name == v.setup.head { // whose own path has the metrics of all
		caller, path = identity.Supervisor, "/debug/tiers/"+string(name)+path
	}
	client, address, err := v.asker(caller, name, p)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	u := url.URL{Scheme: "https", Host: address, Path: path, RawQuery: url.Values{"name[]": vitals.Families}.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", string(vitals.Format))
	if err := identity.Stamp(r.Header, identity.Identity{User: tracer.User, Judged: true}); err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no answer within %s", metricsTimeout)
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return vitals.Counters(io.LimitReader(resp.Body, metricsBytes))
}

// takeUsage adds what the kernel knows of the process. Of one that is gone it knows nothing.
func takeUsage(m *control.ProcessMetrics) {
	proc, err := procfs.NewProc(m.PID)
	if err != nil {
		return
	}
	if stat, err := proc.Stat(); err == nil {
		m.CPUSeconds, m.MemoryBytes, m.Threads = stat.CPUTime(), int64(stat.ResidentMemory()), stat.NumThreads
	}
	if n, err := proc.FileDescriptorsLen(); err == nil {
		m.OpenFiles = n
	}
	if limits, err := proc.Limits(); err == nil {
		m.MaxFiles = limits.OpenFiles
	}
}

// storage asks the embedded etcd for its size; nil if there is none, or no answer.
func (v *Supervisor) storage(ctx context.Context) *control.Storage {
	if !v.setup.embedded() {
		return nil
	}
	client, err := etcd.Dial(v.setup.etcdAddress, v.setup.etcdTLS())
	if err != nil {
		return nil
	}
	defer client.Close()
	room, err := client.Room(ctx)
	if err != nil {
		return nil
	}
	return &control.Storage{SizeBytes: room.Size, QuotaBytes: room.Quota, Full: room.Full}
}
