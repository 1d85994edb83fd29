package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oklog/run"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/options"
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
	// Stdout takes a line for every change.
	Stdout io.Writer
}

// Supervisor runs one control plane.
type Supervisor struct {
	setup *setup
	chain *chain
	front *front
	print *printer
	// shape is held by who changes which replicas there are.
	shape chan struct{}
}

// Run runs a control plane until it is stopped; o is loaded. The error is a
// process.ConfigurationError where trying again cannot help, a *FailedError
// where a child could not start, and a *ForcedError where one had to be killed.
func Run(o *options.Options, e Environment) error {
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
	v := &Supervisor{setup: s, print: p, chain: newChain(members, p.Say), shape: make(chan struct{}, 1)}
	v.chain.onReady, v.chain.onPhase = v.announce, p.notifyPhase
	if v.chain.beforeStop, err = s.withdrawal(v.chain); err != nil {
		return err
	}
	if v.front, err = s.front(v.chain); err != nil {
		return err
	}
	defer v.front.close()
	for _, line := range s.summary() {
		p.Say("%s", line)
	}
	return v.run(e.Signals)
}

// run runs the supervisor's own actors. The group interrupts all of them as
// soon as one ends, in no order that would do for the tiers: those are one
// actor, whose interrupt begins a graceful stop, and whose end ends the rest.
func (v *Supervisor) run(signals <-chan os.Signal) error {
	server, err := control.Listen(v.setup.dir.Control(), v)
	if err != nil {
		return err
	}
	var g run.Group
	g.Add(v.chain.Run, func(error) { v.chain.StopGracefully() })
	g.Add(server.Serve, func(error) { v.chain.closeAfter(server) })
	g.Add(func() error { return v.obey(signals) }, func(error) {})
	v.front.addTo(&g)
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
	v.print.Say("serving %s", v.setup.url)
	if v.front != nil {
		v.print.Say("serving %s without TLS, to everybody on this machine", v.front.URL())
	}
	v.print.Say("kubeconfig %s", config)
	v.print.Say("try: kubectl --kubeconfig %s get namespaces", config)
	v.print.notifyReady(fmt.Sprintf("serving %s", v.setup.url))
}

// Stop implements control.Supervisor.
func (v *Supervisor) Stop(now bool) {
	if now {
		v.chain.Stop(true)
		return
	}
	v.chain.StopGracefully()
}
