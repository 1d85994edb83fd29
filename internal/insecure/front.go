// Package insecure is the plain HTTP door to the API for clients on this
// machine. Whoever gets through it is an administrator, so it stands on loopback
// alone and turns away what a browser may have been talked into sending. The
// rest is the head's business: it authorizes and audits these requests like all
// others.
//
//	local client --HTTP/1.1--> Front ==mTLS, supervisor/delegation==> head's private listener
package insecure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/refusal"
	"triptych.dev/triptych/internal/tier"
)

const (
	// readHeaderTimeout bounds how long a client may take to say what it wants.
	readHeaderTimeout = 30 * time.Second
	// idleTimeout is longer than the 90 s after which client-go gives up an idle
	// connection: who closes first should be the one who knows what it wants next.
	idleTimeout = 3 * time.Minute
)

// Config says where a Front listens, and how it reaches the head.
type Config struct {
	// Listener is TCP on loopback, without TLS. The Front owns it.
	Listener net.Listener
	// Head is the tier that is the head; SetHeads says where it is.
	Head tier.Name
	// TLS shows the supervisor's delegation certificate and verifies the head.
	TLS *tls.Config
}

// Front serves the insecure port. Its methods may be called from any goroutine.
type Front struct {
	listener net.Listener
	server   *http.Server
	head     *hop.Spread

	// ending is over when watches are to end, closing when everything is.
	ending, closing context.Context
	end, close      context.CancelFunc
	once            sync.Once
	background      sync.WaitGroup
}

// New makes a Front; it serves nobody before Serve.
func New(c Config) *Front {
	f := &Front{
		listener: c.Listener,
		// The head bounds requests in time, as it does those of its secure port.
		head: hop.NewSpread(hop.ForwarderConfig{Delegate: c.Head, TLS: c.TLS, ErrorWriter: refuse}),
	}
	f.closing, f.close = context.WithCancel(context.Background())
	f.ending, f.end = context.WithCancel(f.closing)
	f.server = &http.Server{
		Handler:           http.HandlerFunc(f.serve),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(refusal.New("insecure port"), "", 0),
		// "OPTIONS *" would be answered without a look at its Host.
		DisableGeneralOptionsHandler: true,
		Protocols:                    new(http.Protocols),
	}
	f.server.Protocols.SetHTTP1(true)
	return f
}

// URL is where clients find the Front: http://127.0.0.1:8080.
func (f *Front) URL() string { return "http://" + f.listener.Addr().String() }

// Serve takes connections until End or Close, which make it return nil.
func (f *Front) Serve() error {
	err := f.server.Serve(f.listener)
	if errors.Is(err, http.ErrServerClosed) || f.ending.Err() != nil {
		return nil
	}
	return fmt.Errorf("cannot serve the insecure port: %w", err)
}

// SetHeads says which replicas the head has, and where their private listeners are.
func (f *Front) SetHeads(all []hop.Replica) { f.head.Set(all) }

// HeadLost says that the process of a replica of the head is gone. Its Available must
// have begun to say so before.
func (f *Front) HeadLost(replica string) { f.head.Lost(replica) }

// Refresh has new requests go to the head on new connections.
func (f *Front) Refresh() { f.head.Refresh() }

// End closes the port and ends watches, as the head ends those of its own
// clients. It does not wait: other requests go on until they are answered, or
// until Close.
func (f *Front) End() {
	f.once.Do(func() {
		f.end()
		_ = f.listener.Close()
		f.background.Go(func() { _ = f.server.Shutdown(f.closing) })
	})
}

// Close ends everything at once.
func (f *Front) Close() error {
	f.close()
	// The server knows nothing of its listener if Serve was never called.
	err := errors.Join(unlessClosed(f.server.Close()), unlessClosed(f.listener.Close()))
	f.head.Close()
	f.background.Wait()
	return err
}

// unlessClosed drops the complaint that something is closed already.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
