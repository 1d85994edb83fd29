package supervisor

import (
	"context"
	"net"
	"strings"

	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/scrape"
	"triptych.dev/triptych/internal/version"
)

// telemetry is what the supervisor tells a scraper of itself, whatever has become of the tiers.
type telemetry struct {
	v      *Supervisor
	stages *prometheus.HistogramVec
}

func newTelemetry(v *Supervisor) *telemetry {
	return &telemetry{v: v, stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "triptych_supervisor_stage_duration_seconds", Help: "How long processes took from their start to a stage of the handshake.",
		Buckets: []float64{.1, .25, .5, 1, 2, 4, 8, 15, 30, 60, 120},
	}, []string{"tier", "stage"})}
}

// record observes an event of a process.
func (t *telemetry) record(e events.Event) {
	if e.Kind == events.Stage {
		t.stages.WithLabelValues(tierOf(e.Process), e.To).Observe(e.Seconds)
	}
}

// tierOf is the tier of a replica, or etcd.
func tierOf(replica string) string {
	name, _, _ := strings.Cut(replica, "-")
	return name
}

// Describe implements prometheus.Collector. It says nothing: which families there are follows from what runs.
func (t *telemetry) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (t *telemetry) Collect(to chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) {
		var names, values []string
		for i := 0; i+1 < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	}
	gauge := func(name, help string, value float64, labels ...string) {
		send(prometheus.GaugeValue, name, help, value, labels...)
	}
	v := t.v
	now, _ := v.chain.Snapshot()
	gauge("triptych_supervisor_info", "1, and the version of the supervisor.", 1, "version", version.Version)
	for _, phase := range []lifecycle.Phase{lifecycle.PhaseStarting, lifecycle.PhaseReady, lifecycle.PhaseDegraded, lifecycle.PhaseStopping} {
		gauge("triptych_supervisor_phase", "1 for the phase of the whole, else 0.", truth(phase == now.Phase), "phase", string(phase))
	}
	for _, name := range now.Names {
		is := now.Children[name]
		of := []string{"tier", is.Tier, "replica", name}
		gauge("triptych_supervisor_replica_ready", "1 if the process is ready, else 0.", truth(is.State == lifecycle.Ready), of...)
		gauge("triptych_supervisor_replica_state", "1, and the state of the process as supervisor events calls it.", 1, append(of, "state", string(is.State))...)
		send(prometheus.CounterValue, "triptych_supervisor_replica_restarts_total", "Processes of the replica before this one.", float64(is.Restarts), of...)
		if is.PID != 0 {
			gauge("triptych_supervisor_replica_start_timestamp_seconds", "When the process was started.", float64(is.Started.UnixMilli())/1000, of...)
		}
	}
	t.processes(v.Metrics(context.Background()), now, send)
	if all, err := v.Certificates(); err == nil {
		t.certificates(all, gauge)
	}
	if s := v.snapshotStatus(); s != nil {
		last := 0.0
		if s.Last != nil {
			last = float64(s.Last.Taken.Unix())
		}
		gauge("triptych_supervisor_snapshot_last_success_timestamp_seconds", "When the newest snapshot by schedule was taken; 0 if there is none.", last)
		gauge("triptych_supervisor_snapshot_failed", "1 if the last attempt of a snapshot by schedule failed, else 0.", truth(s.Problem != ""))
	}
}

// processes tells what each of them takes, and has answered as far as it says.
func (t *telemetry) processes(m control.Metrics, now Snapshot, send func(prometheus.ValueType, string, string, float64, ...string)) {
	for _, p := range m.Processes {
		of := []string{"tier", now.Children[p.Name].Tier, "replica", p.Name}
		send(prometheus.CounterValue, "triptych_supervisor_replica_cpu_seconds_total", "CPU that the process has taken.", p.CPUSeconds, of...)
		send(prometheus.GaugeValue, "triptych_supervisor_replica_resident_memory_bytes", "Resident memory of the process, shared pages included.", float64(p.MemoryBytes), of...)
		if p.OpenFiles > 0 {
			send(prometheus.GaugeValue, "triptych_supervisor_replica_open_fds", "File descriptors of the process.", float64(p.OpenFiles), of...)
		}
		if p.Name == Etcd {
			continue
		}
		send(prometheus.GaugeValue, "triptych_supervisor_replica_answers", "1 if the process gave its metrics, else 0.", truth(p.Counters != nil), of...)
		if c := p.Counters; c != nil {
			send(prometheus.CounterValue, "triptych_supervisor_replica_requests_total", "Requests that the process has answered, without watches.", c.Requests, of...)
			send(prometheus.CounterValue, "triptych_supervisor_replica_request_errors_total", "Those of them answered by 5xx.", c.Errors, of...)
			send(prometheus.GaugeValue, "triptych_supervisor_replica_watches", "Watches that are open at the process.", float64(c.Watches), of...)
		}
	}
	if s := m.Storage; s != nil {
		send(prometheus.GaugeValue, "triptych_supervisor_etcd_size_bytes", "Size of the database of the supervisor's etcd.", float64(s.SizeBytes))
		send(prometheus.GaugeValue, "triptych_supervisor_etcd_quota_bytes", "Size at which it takes no more writes.", float64(s.QuotaBytes))
		send(prometheus.GaugeValue, "triptych_supervisor_etcd_full", "1 if it takes no more writes, else 0.", truth(s.Full))
	}
}

func (t *telemetry) certificates(all []pki.Certificate, gauge func(string, string, float64, ...string)) {
	for _, c := range all {
		if !c.NotAfter.IsZero() {
			gauge("triptych_supervisor_certificate_expiration_timestamp_seconds", "When the certificate in the file ends.", float64(c.NotAfter.Unix()), "certificate", c.Name)
		}
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// listenMetrics binds the supervisor's own port for scrapes, if there is to be one.
func (s *setup) listenMetrics() error {
	address := s.options.MetricsBindAddress
	if address == "" {
		return nil
	}
	l, err := listenTCP(address, nil)
	if err != nil {
		return cannotListen(err, address, "metrics-bind-address", "metrics-bind-address", "")
	}
	s.metrics = l
	s.undo = append(s.undo, func() { l.Close() })
	return nil
}

// addMetrics adds the actor that answers scrapes, to the end of the chain.
func (v *Supervisor) addMetrics(g *run.Group) {
	if v.setup.metrics == nil {
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(v.telemetry, v.telemetry.stages, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := scrape.New(scrape.Config{
		Listener: v.setup.metrics, Credentials: v.setup.papers.metrics, TokenFile: v.setup.options.MetricsTokenFile, Gatherer: registry,
	})
	g.Add(server.Serve, func(error) { v.chain.closeAfter(server) })
}

// metricsURL is empty without the port.
func (s *setup) metricsURL() string {
	if s.metrics == nil {
		return ""
	}
	return "https://" + s.metrics.Addr().(*net.TCPAddr).String() + "/metrics"
}
