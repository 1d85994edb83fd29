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
	"os"
	"os/signal"
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
	Wiring *wiring.Wiring
	// Handshake is served from Start on.
	Handshake *handshake.Server

	settings map[string]string
	born     time.Time
}

// Start loads the wiring at path and begins to answer the handshake. flags are
// the tier's own, parsed. The context ends when the process is told to stop.
// Errors are configuration errors.
func Start(name tier.Name, path string, flags *pflag.FlagSet) (context.Context, *Process, error) {
	born := time.Now()
	if path == "" {
		return nil, nil, ConfigurationError{fmt.Errorf("--wiring must be set: a tier is started by the supervisor, or with a wiring file of yours")}
	}
	w, err := wiring.Load(path, name)
	if err != nil {
		return nil, nil, ConfigurationError{err}
	}
	holdLifeline(w.Lifeline)
	settings, all, err := Settings(flags)
	if err != nil {
		return nil, nil, ConfigurationError{err}
	}
	p := &Process{Wiring: w, settings: settings, born: born}
	if err := p.serveHandshake(all); err != nil {
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

func (p *Process) serveHandshake(settingsHash string) error {
	cfg, err := serverTLS(p.Wiring.PKI)
	if err != nil {
		return err
	}
	l, err := p.Wiring.Listen.Handshake.Open()
	if err != nil {
		return err
	}
	p.Handshake = handshake.NewServer(cfg, &handshakev1.DescribeResponse{
		Protocol:       handshake.Protocol,
		OldestProtocol: handshake.OldestProtocol,
		Tier:           string(p.Wiring.Tier),
		Replica:        p.Wiring.Replica,
		Incarnation:    uuid.NewString(),
		Version:        version.Get().GitVersion,
		SettingsHash:   settingsHash,
		Settings:       p.settings,
		Pid:            int64(os.Getpid()),
	})
	go func() {
		if err := p.Handshake.Serve(l); err != nil {
			klog.ErrorS(err, "Cannot serve the handshake")
		}
	}()
	return nil
}

// Reach reports stage to whoever watches, and to the log.
func (p *Process) Reach(stage tier.Stage) {
	p.Handshake.Reach(stage)
	klog.InfoS("Stage reached", "stage", stage, "after", time.Since(p.born).Round(time.Millisecond))
}
