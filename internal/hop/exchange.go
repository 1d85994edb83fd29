package hop

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

// exchange is one request and its answer.
type exchange struct {
	forwarder *Forwarder
	counted   *Forwarder // where the request is unanswered; nil once something was heard
	here      bool       // no other replica is asked
	life      *life
	w         http.ResponseWriter
	r         *http.Request
	head      head
	bound     time.Duration // 0 is none
	guard     guard
	sender    *sender // nil unless there is a body
	lane      *laneIn // nil unless one is offered to the answer
	riding    bool    // the answer is on the lane
	start     time.Time
	measured  bool
}

// run forwards the request, at most twice, and settles what the client gets.
func (x *exchange) run() {
	x.guard.client = http.NewResponseController(x.w)
	x.bound = x.forwarder.bound(x.r)
	x.guard.start(x.r.Context(), x.bound)
	// Nothing may touch the client's side once the handler has returned or
	// panicked.
	defer x.guard.stop()
	err := x.attempt(false)
	if errors.Is(err, errReplay) {
		x.move()
		err = x.attempt(true)
	}
	if err != nil {
		x.fail(err)
	}
}

// move has the second attempt made at another replica, if there is one.
func (x *exchange) move() {
	if other := x.elsewhere(); other != nil {
		x.forwarder, x.life = other, other.pool.current()
	}
}

// elsewhere returns the Forwarder of another replica, or nil.
func (x *exchange) elsewhere() *Forwarder {
	if x.here || x.forwarder.another == nil {
		return nil
	}
	return x.forwarder.another()
}

// errReplay asks for the second attempt.
var errReplay = errors.New("the request is sent again")

// failure is an attempt that did not deliver an answer.
type failure struct {
	outcome outcome
	cause   error
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

// attempt sends the request on one connection and delivers the answer.
func (x *exchange) attempt(again bool) error {
	c, err := x.connect(again)
	if err != nil {
		// Nothing was sent, but here another attempt would fail alike.
		return x.judge(evidence{final: again || x.elsewhere() == nil}, connect, err)
	}
	if err := x.use(c); err != nil {
		if x.riding { // c is not ours any more
			return x.judge(evidence{answered: true, sent: true, harmless: x.harmless(), final: true}, lost, err)
		}
		x.forwarder.pool.discard(c)
		x.stopSender()
		return x.judge(evidence{
			answered: c.received.Load() > 0,
			sent:     c.sent(),
			harmless: x.harmless(),
			final:    again || x.sender.consumed(),
		}, lost, err)
	}
	return nil
}

// harmless tells whether the request may happen twice.
func (x *exchange) harmless() bool {
	once := x.forwarder.config.Once
	return x.head.read() && (once == nil || !once(x.r))
}

// connect finds a connection; the guard cuts this too.
func (x *exchange) connect(fresh bool) (*conn, error) {
	pool := x.forwarder.pool
	if !fresh {
		if c := pool.reuse(x.life); c != nil {
			return c, nil
		}
	}
	ctx := x.r.Context()
	if x.bound > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, x.bound, errTimeout)
		defer cancel()
	}
	c, err := pool.connect(ctx, x.life)
	if err != nil && context.Cause(ctx) == errTimeout {
		err = errors.Join(errTimeout, err) // before the guard says so
	}
	return c, err
}

// use runs the exchange on c and, if it went well, gives c back.
func (x *exchange) use(c *conn) error {
	c.begin()
	defer x.board(c)()
	if err := x.guard.watch(c); err != nil {
		return err
	}
	x.send(c)
	a, err := x.receive(c)
	if err != nil {
		if x.lane != nil { // the answer may be on it
			x.lane.abandon()
		}
		return err
	}
	x.heard()
	x.measure(answered)
	if a.status == http.StatusSwitchingProtocols {
		return x.upgrade(c, a)
	}
	if x.lane != nil && a.lane == x.head.lane {
		return x.ride(c, a)
	}
	x.getOff(a)
	if err := x.deliver(c, a); err != nil {
		return err
	}
	x.release(c, a)
	return nil
}

// board offers a lane to the answer of a watch on c, if there is one. What it returns is to be called when the answer is
// over.
func (x *exchange) board(c *conn) (leave func()) {
	x.lane, x.head.lane = nil, ""
	f := x.forwarder
	if f.config.Watches == nil || !f.config.Watches(x.r) || x.r.Method != http.MethodGet || x.head.length != 0 || x.head.upgrade {
		return nothing
	}
	if x.lane = f.trunks.board(c.life); x.lane == nil {
		return nothing
	}
	x.head.lane = x.lane.name()
	return x.lane.leave
}

// getOff is for an answer that does not take the lane.
func (x *exchange) getOff(a *answer) {
	if x.lane == nil {
		return
	}
	if a.lane == trunkOver {
		x.forwarder.trunks.leave(x.lane.trunk)
	}
	x.lane.leave()
}

// release returns c to the pool if both directions ended where they should.
func (x *exchange) release(c *conn, a *answer) {
	whole := x.finishSender(c)
	if uncut := x.guard.stop(); !uncut || !whole || a.close {
		x.forwarder.pool.discard(c)
		return
	}
	x.forwarder.pool.put(c)
}

// judge turns what is known into what is to be done.
func (x *exchange) judge(e evidence, why reason, err error) error {
	e.cut, e.begun = x.guard.state()
	if e.cut == nil && errors.Is(err, errTimeout) {
		e.cut = errTimeout
	}
	o := e.outcome()
	if o == replayed {
		x.forwarder.meter.retries.Inc()
		return errReplay
	}
	x.count(e, o, why)
	return &failure{outcome: o, cause: err}
}

// heard takes the request off those that are unanswered.
func (x *exchange) heard() {
	if x.counted != nil {
		x.counted.unanswered.Add(-1)
		x.counted = nil
	}
}

// measure takes the time once: to the first byte of the answer, or to the end
// of an exchange without one.
func (x *exchange) measure(o outcome) {
	if !x.measured {
		x.measured = true
		x.forwarder.meter.durations[o].Observe(time.Since(x.start).Seconds())
	}
}

// count counts a failure, unless it is the client's.
func (x *exchange) count(e evidence, o outcome, why reason) {
	switch {
	case e.cut == ErrEnd:
		x.measure(o)
		return
	case e.cut == errTimeout:
		why = timeout
	case e.cut != nil || x.r.Context().Err() != nil:
		x.measure(gone)
		return
	case e.begun:
		why = cut
	}
	x.measure(o)
	x.forwarder.meter.failures[why].Inc()
}

// fail gives the client what the outcome calls for.
func (x *exchange) fail(err error) {
	f := x.forwarder
	var lost *failure
	errors.As(err, &lost)
	if x.r.ProtoMajor == 1 && (x.sender.consumed() || lost.outcome == expired && x.head.length != 0) {
		// What is left of the body must not be taken for the next request, nor waited for when the time is over.
		x.w.Header().Set("Connection", "close")
	}
	switch lost.outcome {
	case unavailable:
		f.refuse(x.w, x.r, f.unavailable(err))
	case expired:
		f.refuse(x.w, x.r, f.expired())
	case ended:
	default:
		klog.FromContext(x.r.Context()).V(2).Info("request broken off", "delegate", f.config.Delegate,
			"method", x.r.Method, "path", x.r.URL.Path, "cause", err)
		panic(http.ErrAbortHandler)
	}
}
