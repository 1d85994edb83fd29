package hop

import (
	"crypto/tls"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// ForwarderConfig says whom a Forwarder delegates to, and how long it waits.
type ForwarderConfig struct {
	// Delegate names the tier in errors and logs.
	Delegate tier.Name
	// Address is the host:port of the delegate's hop listener.
	Address string
	// Socket is the path of the delegate's unix socket, which is used instead where it
	// can be; see greeting.go. Empty means that there is none.
	Socket string
	// TLS shows the delegation certificate and verifies the delegate against
	// the internal CA. An empty ServerName becomes the delegate's. Certificates
	// that are rotated belong into GetClientCertificate; see Refresh.
	TLS *tls.Config
	// Available tells why the delegate cannot be called, nil when it can. It is
	// asked before anything is sent: the supervisor holds the listener open
	// while no process accepts from it, so that a connection to a dead delegate
	// hangs instead of failing. Nil means always available.
	Available func() error
	// LongRunning tells which requests have no bound on their duration. Nil
	// means none of them.
	LongRunning func(*http.Request) bool
	// Watches tells which requests are watches, which share a connection; see trunk.go. Nil means none of them.
	Watches func(*http.Request) bool
	// Once tells which reads must not happen twice, because the delegate hands
	// them on to somebody who may count them. Nil means none of them.
	Once func(*http.Request) bool
	// Timeout bounds the other requests from the first byte to the last. Zero
	// means no bound.
	Timeout time.Duration
	// ErrorWriter writes the answers that are the Forwarder's own. Nil means a
	// metav1.Status as JSON.
	ErrorWriter func(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError)
}

// Forwarder hands requests to the delegate and its answers back. Requests are
// forwarded as they are, identity header included: who may call it, and as
// whom, was decided before. It is safe for concurrent use.
type Forwarder struct {
	config ForwarderConfig
	pool   *pool
	trunks trunks
	meter  *meter

	// another returns the Forwarder of another replica that a request may go to
	// when it cannot be had here, or nil. Nil means that there never is one.
	another func() *Forwarder

	// unanswered counts the requests of which nothing was heard yet.
	unanswered atomic.Int64

	bodyLinger, tunnelLinger time.Duration // shorter in tests
}

// NewForwarder makes a Forwarder; it connects when it is first needed.
func NewForwarder(c ForwarderConfig) *Forwarder {
	config := c.TLS.Clone()
	config.MinVersion = tls.VersionTLS13
	config.NextProtos = []string{"http/1.1"}
	config.DynamicRecordSizingDisabled = true
	config.ClientSessionCache = noSessions{}
	if config.ServerName == "" {
		config.ServerName = identity.ServerName(c.Delegate)
	}
	if c.ErrorWriter == nil {
		c.ErrorWriter = WriteStatus
	}
	m := newMeter(c.Delegate)
	p := newPool(c.Address, c.Socket, config, m)
	return &Forwarder{
		config: c, pool: p, trunks: trunks{pool: p}, meter: m,
		bodyLinger: defaultBodyLinger, tunnelLinger: defaultTunnelLinger,
	}
}

// ServeHTTP forwards r. It panics with http.ErrAbortHandler where the client
// must not take what it got for an answer; see outcome.go.
func (f *Forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.unanswered.Add(1)
	f.serve(w, r, false)
}

// serve is ServeHTTP for a request that is counted as unanswered already. With here it is
// for this replica and no other.
func (f *Forwarder) serve(w http.ResponseWriter, r *http.Request, here bool) {
	x := &exchange{forwarder: f, counted: f, w: w, r: r, here: here}
	defer x.heard()
	start := time.Now()
	f.meter.inFlight.Inc()
	defer f.meter.inFlight.Dec()
	// The order matters: if the delegate is lost after it was asked for, the
	// life taken here is already over, and no connection is made in it.
	life := f.pool.current()
	if err := f.available(); err != nil {
		f.meter.failures[away].Inc()
		f.meter.durations[unavailable].Observe(time.Since(start).Seconds())
		f.refuse(w, r, f.unavailable(err))
		return
	}
	head, err := newHead(r)
	if err != nil {
		f.meter.durations[invalid].Observe(time.Since(start).Seconds())
		f.refuse(w, r, apierrors.NewBadRequest(err.Error()))
		return
	}
	x.life, x.head, x.start = life, head, start
	x.run()
}

// DelegateLost says that the delegate's process went away: idle connections
// are closed, and connections that are being made are given up. Requests on
// established connections go on: if the process is dead the kernel ends them,
// and if it is not they deserve their answer.
func (f *Forwarder) DelegateLost() { f.pool.renew() }

// Refresh has new requests go on new connections, for which TLS is asked anew who we are. Requests in
// flight go on.
func (f *Forwarder) Refresh() { f.pool.refresh() }

// Close ends every connection; requests in flight are broken off.
func (f *Forwarder) Close() { f.pool.close() }

// retire closes what is idle, and every connection once it has answered.
func (f *Forwarder) retire() {
	f.pool.retire()
	f.trunks.retire()
}

func (f *Forwarder) available() error {
	if f.pool.isClosed() {
		return errors.New("this process is stopping")
	}
	if f.config.Available == nil {
		return nil
	}
	return f.config.Available()
}

// bound is how long r may take; zero is for ever.
func (f *Forwarder) bound(r *http.Request) time.Duration {
	if f.config.LongRunning != nil && f.config.LongRunning(r) {
		return 0
	}
	return f.config.Timeout
}
