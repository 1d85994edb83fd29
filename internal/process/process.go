// Package process is one life of one process of a tier, from reading its wiring
// to the exit code: what the three tiers' programs have in common around their
// API server.
//
//	Start -> Reach(configured) -> Reach(constructed) -> Serve: prepared, ready
//	      -> SIGTERM -> draining -> exit
package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
	"k8s.io/component-base/version"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Process is this process as the others see it.
type Process struct {
	// Wiring is what it was when the process started. Where the replicas of other
	// tiers are may have changed since: Watch and ClientConfig know.
	Wiring *wiring.Wiring
	// Handshake is served from Listen on.
	Handshake *handshake.Server

	// Flags are the process' own, parsed.
	Flags *pflag.FlagSet

	path     string // of the wiring
	listener net.Listener
	papers   papers
	settings map[string]string
	born     time.Time
	wasReady atomic.Bool
	informed atomic.Bool

	neighbours
}

// Start loads the wiring at path and makes the handshake's server, which Listen
// has serve. flags are the tier's own, parsed. The context ends when the process
// is told to stop. emulated is the minor of Kubernetes whose API it serves. Errors are
// configuration errors.
func Start(name tier.Name, path string, flags *pflag.FlagSet, emulated string) (context.Context, *Process, error) {
	born := time.Now()
	if path == "" {
		return nil, nil, ConfigurationError{fmt.Errorf("--wiring must be set: a tier is started by the supervisor, or with a wiring file of yours")}
	}
	w, err := wiring.Load(path, name)
	if err != nil {
		return nil, nil, ConfigurationError{err}
	}
	if err := enclose(path, w); err != nil {
		return nil, nil, err
	}
	HoldLifeline(w.Lifeline)
	PaceCollector()
	settings, all, err := Settings(flags)
	if err != nil {
		return nil, nil, ConfigurationError{err}
	}
	if emulated != "" {
		settings[handshake.Emulated] = emulated
		all = hash(joined(settings))
	}
	p := &Process{Wiring: w, Flags: flags, path: path, settings: settings, born: born}
	if err := p.newHandshake(all); err != nil {
		return nil, nil, ConfigurationError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		klog.InfoS("Told to stop", "tier", name)
		p.Reach(tier.Draining)
	})
	return ctx, p, nil
}

// Caller returns a process that calls others by what w says and is called by nobody: it has no handshake.
func Caller(w *wiring.Wiring) (*Process, error) {
	papers, err := loadPapers(w.PKI)
	if err != nil {
		return nil, err
	}
	return &Process{Wiring: w, papers: papers}, nil
}

func (p *Process) newHandshake(settingsHash string) error {
	var err error
	if p.papers, err = loadPapers(p.Wiring.PKI); err != nil {
		return err
	}
	if p.listener, err = p.Wiring.Listen.Handshake.Open(); err != nil {
		return err
	}
	p.Handshake = handshake.NewServer(p.papers.serving.Server(), &handshakev1.DescribeResponse{
		Protocol:       handshake.Protocol,
		OldestProtocol: handshake.OldestProtocol,
		Tier:           string(p.Wiring.Tier),
		Replica:        p.Wiring.Replica,
		Incarnation:    uuid.NewString(),
		Version:        version.Get().GitVersion,
		SettingsHash:   settingsHash,
		Settings:       p.settings,
		Pid:            int64(os.Getpid()),
		PublicAddress:  publicAddress(p.Wiring),
	})
	p.Handshake.SetSiblings(siblings(p.Wiring.Tiers[p.Wiring.Tier]))
	p.Handshake.RegisterRewiring(p.rewire, p.leave)
	tellSnapshots(p.Wiring.Snapshots)
	return nil
}

// publicAddress is where clients find a head.
func publicAddress(w *wiring.Wiring) string {
	if w.IsHead() {
		return w.PublicAddress
	}
	return ""
}

// Listen begins to answer the handshake. Services are registered before.
func (p *Process) Listen() {
	go func() {
		if err := p.Handshake.Serve(p.listener); err != nil {
			klog.ErrorS(err, "Cannot serve the handshake")
		}
	}()
}

// WasReady tells whether the process has been ready once.
func (p *Process) WasReady() bool { return p.wasReady.Load() }

// Informed tells whether the process knows what it needs to judge users: it has
// been ready, or all that it lacks is not needed for that.
func (p *Process) Informed() bool { return p.wasReady.Load() || p.informed.Load() }

// Inform says so of a process that is not ready.
func (p *Process) Inform() { p.informed.Store(true) }

// Reach reports stage to whoever watches, and to the log.
func (p *Process) Reach(stage tier.Stage) {
	if stage == tier.Ready && !p.wasReady.Swap(true) {
		p.firstReady()
	}
	p.Handshake.Reach(stage)
	klog.InfoS("Stage reached", "stage", stage, "after", time.Since(p.born).Round(time.Millisecond))
}

// Leave reports that the process is no longer at stage.
func (p *Process) Leave(stage tier.Stage) {
	p.Handshake.Leave(stage)
	klog.InfoS("Stage left", "stage", stage)
}

// patience is how long after its start a process goes on waiting for a delegate
// that it can do without. A crash loop of extensions must not keep the others
// from starting: after this they answer 503 for what extensions would serve. All
// tiers start together, so the time runs once and not once a tier.
const patience = 8 * time.Second

// Patience returns when a process stops waiting for what it can do without.
func (p *Process) Patience() time.Time { return p.born.Add(patience) }
