package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/oklog/run"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/sandbox"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/version"
)

// Environment is what a supervisor gets from its own process.
type Environment struct {
	// Executable is the path of the supervisor's program, which is run again for
	// etcd; the tiers' programs are sought beside it.
	Executable string
	// Environ are lines of NAME=value, a part of which the children get.
	Environ []string
	// Signals stop the supervisor: the first gracefully, the second fast, the
	// third kills.
	Signals <-chan os.Signal
	// Reload has the configuration read again.
	Reload <-chan os.Signal
	// Reread returns the options that the same command line makes now, loaded.
	Reread func() (*options.Options, error)
	// Stdout takes a line for every change.
	Stdout io.Writer
}

// Supervisor runs one control plane.
type Supervisor struct {
	setup *setup
	chain *chain
	front *front
	print *printer
	// telemetry is what the supervisor's own metrics tell.
	telemetry *telemetry
	// history outlives us.
	history *events.Recorder
	phase   lifecycle.Phase // the last that was told
	// reread is Environment.Reread.
	reread func() (*options.Options, error)
	// systemd is who started us, perhaps.
	systemd systemd
	// shape is held by who changes which replicas there are.
	shape    chan struct{}
	wires    sync.Mutex
	upgrades upgrades
	renewals renewals
	// snapshots are those taken by schedule.
	snapshots snapshots
}

// Run runs a control plane until it is stopped; o is loaded. The error is a
// process.ConfigurationError where trying again cannot help, a *FailedError
// where a child could not start, and a *ForcedError where one had to be killed.
func Run(o *options.Options, e Environment) (err error) {
	if o.Sandbox != sandbox.Off {
		// All keys pass through here.
		if err := sandbox.Seal(); err != nil {
			return err
		}
	}
	s, err := prepare(o, e)
	if errors.Is(err, errStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.close()
	p := newPrinter(e.Stdout, s.dir.LogFile(self), o.Logs())
	defer p.Close()
	members, err := s.members()
	if err != nil {
		return err
	}
	history := events.NewRecorder(s.dir.Events())
	defer history.Close()
	v := &Supervisor{setup: s, print: p, chain: newChain(members, p.Say), history: history, reread: e.Reread, shape: make(chan struct{}, 1), snapshots: snapshots{one: make(chan struct{}, 1)}}
	v.telemetry = newTelemetry(v)
	v.chain.record = func(e events.Event) {
		history.Record(e)
		v.telemetry.record(e)
	}
	v.note("started as version %s", version.Version)
	defer func() { v.note("ended%s", because(ending(err))) }()
	v.chain.onReady, v.chain.onPhase = v.announce, v.entered
	withdraw := s.withdrawal(v.chain)
	v.chain.beforeStop = func(ctx context.Context) {
		withdraw(ctx)
		v.leaveHosts(ctx)
	}
	v.front = s.front(v.chain)
	defer v.front.close()
	defer s.follow(p)()
	if err := backup.Sweep(s.dir.Run()); err != nil {
		p.Say("warning: cannot remove what a snapshot that was cut short has left: %v", err)
	}
	for _, line := range s.summary() {
		p.Say("%s", line)
	}
	return v.run(e.Signals, e.Reload)
}

// run runs the supervisor's own actors. The group interrupts all of them as
// soon as one ends, in no order that would do for the tiers: those are one
// actor, whose interrupt begins a graceful stop, and whose end ends the rest.
func (v *Supervisor) run(signals, reload <-chan os.Signal) error {
	server, err := control.Listen(v.setup.dir.Control(), v)
	if err != nil {
		return err
	}
	var g run.Group
	g.Add(v.chain.Run, func(error) { v.chain.StopGracefully() })
	g.Add(server.Serve, func(error) { v.chain.closeAfter(server) })
	g.Add(func() error { return v.obey(signals) }, func(error) {})
	g.Add(v.followHosts, func(error) {})
	g.Add(func() error { return v.reloadAtSignals(reload) }, func(error) {})
	g.Add(v.followCertificates, func(error) {})
	g.Add(v.takeBySchedule, func(error) {})
	v.front.addTo(&g)
	v.addMetrics(&g)
	if err := v.addWatchdog(&g); err != nil {
		v.print.Say("warning: systemd's watchdog gets no sign of life: %v", err)
	}
	// Which actor is the first to return at the end of the chain is chance, so
	// how it ended is asked of the chain.
	if err := g.Run(); err != nil {
		return err
	}
	return v.chain.verdict()
}

// closeAfter keeps a listener's owner open until the chain has ended, whichever
// actor was the first to end: a stop can be watched by the control socket.
func (c *chain) closeAfter(owner io.Closer) {
	go func() {
		<-c.done
		owner.Close()
	}()
}

// obey turns signals into stops, each faster than the one before, to the end of
// the chain.
func (v *Supervisor) obey(signals <-chan os.Signal) error {
	for {
		select {
		case sig := <-signals:
			v.print.Say("%s", sig)
			v.chain.Stop(false)
		case <-v.chain.done:
			return nil
		}
	}
}

// announce says where the API is, now that its head is ready.
func (v *Supervisor) announce() {
	config := v.setup.dir.Kubeconfig()
	if !v.setup.headHere() {
		v.print.Say("serving other hosts")
		v.systemd.Ready("serving other hosts")
		return
	}
	v.print.Say("serving %s", v.setup.url)
	if v.front != nil {
		v.print.Say("serving %s without TLS, to everybody on this machine", v.front.URL())
	}
	v.print.Say("kubeconfig %s", config)
	v.print.Say("try: kubectl --kubeconfig %s get namespaces", config)
	v.systemd.Ready(fmt.Sprintf("serving %s", v.setup.url))
}

// entered says that the whole is in another phase.
func (v *Supervisor) entered(phase lifecycle.Phase) {
	v.systemd.Phase(phase)
	v.history.Record(events.Event{Process: self, PID: os.Getpid(), Kind: events.Phase, From: string(v.phase), To: string(phase)})
	v.phase = phase
	v.print.Say("phase: %s", phase)
}

// note records something that was done.
func (v *Supervisor) note(format string, args ...any) {
	v.history.Record(events.Event{Process: self, PID: os.Getpid(), Kind: events.Note, Reason: fmt.Sprintf(format, args...)})
}

func ending(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Stop implements control.Supervisor.
func (v *Supervisor) Stop(now bool) {
	if now {
		v.chain.Stop(true)
		return
	}
	v.chain.StopGracefully()
}
