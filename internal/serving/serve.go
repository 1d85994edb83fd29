package serving

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

const (
	// readyPoll and readyRecheck are how often a process runs its own readiness
	// checks, before it is ready for the first time and after. They ask etcd, and
	// on the head the other tiers.
	readyPoll, readyRecheck = 10 * time.Millisecond, 500 * time.Millisecond
	// closeGrace is how long connections may take to close once every request
	// has been answered.
	closeGrace = 2 * time.Second
)

// Peers are who may connect to a process' hop listener.
type Peers []identity.Peer

// Admit implements hop.ServerConfig.Admit.
func (p Peers) Admit(peer identity.Peer) bool {
	return slices.Contains(p, peer)
}

// Serve takes a prepared server through its stages until ctx ends, everything
// in flight is answered and the listeners are closed. registry may be nil. run is
// the server's PrepareRun().RunWithContext or what wraps it.
func Serve(ctx context.Context, p *process.Process, server *genericapiserver.GenericAPIServer, peers Peers, registry Registry,
	run func(context.Context) error) error {
	listener, err := p.Wiring.Listen.Hop.Open()
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	var local net.Listener
	if p.Wiring.Listen.HopSocket != "" {
		if local, err = p.Wiring.Listen.HopSocket.Open(); err != nil {
			return process.ConfigurationError{Err: err}
		}
	}
	inner, err := hop.NewServer(hop.ServerConfig{
		Listener: listener, Local: local,
		CAFile: p.Wiring.PKI.CA, CertFile: p.Wiring.PKI.Serving.Cert, KeyFile: p.Wiring.PKI.Serving.Key,
		Admit:   peers.Admit,
		Handler: server.Handler,
		Watches: isWatch,
	})
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	p.OnRenewed(inner.Reload)
	// A process that nobody can reach must not live on as ready.
	ctx, fail := context.WithCancelCause(ctx)
	go func() {
		if err := inner.Serve(); err != nil {
			fail(err)
		}
	}()
	announcer, err := announce(ctx, p, server, registry)
	if err != nil {
		return err
	}
	p.Reach(tier.Prepared)
	go followReadiness(ctx, announcer)

	err = run(ctx)
	stop(inner, p)
	return outcome(err, context.Cause(ctx), p.WasReady())
}

var requests = &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}

// isWatch tells which requests a client makes again when they end.
func isWatch(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	// Most requests have none of these; what is encoded may say anything.
	if q := r.URL.RawQuery; !strings.Contains(q, "watch") && !strings.Contains(q, "%") && !strings.Contains(r.URL.Path, "/watch/") {
		return false
	}
	info, err := requests.NewRequestInfo(r)
	return err == nil && info.Verb == "watch"
}

// outcome is what a process says of itself whose server ended with err when
// cause ended its context. Told to stop is no failure once it was ready; before,
// it must not look like a program that had nothing to do.
func outcome(err, cause error, wasReady bool) error {
	told := errors.Is(cause, context.Canceled)
	switch {
	case told && (err == nil || errors.Is(err, context.Canceled)):
		if wasReady {
			return nil
		}
		return cause
	case err == nil:
		err = cause
	}
	if err != nil {
		return fmt.Errorf("cannot serve: %w", err)
	}
	return nil
}

func stop(inner *hop.Server, p *process.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := inner.Shutdown(ctx); err != nil {
		_ = inner.Close()
	}
	p.Handshake.Stop()
}

// followReadiness reports what the process' own /readyz says.
func followReadiness(ctx context.Context, a *announcer) {
	ready, pause, looked := false, readyPoll, time.Now()
	for {
		if now := a.readiness.ready(); now != ready {
			ready = now
			if ready {
				a.process.Reach(tier.Ready)
				a.becameReady()
				pause = readyRecheck
			} else {
				a.process.Leave(tier.Ready)
			}
		}
		if !ready && !a.process.Informed() && time.Since(looked) > readyRecheck {
			if looked = time.Now(); a.readiness.lacksPluginAlone() {
				a.process.Inform()
				a.becameReady()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
