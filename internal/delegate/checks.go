package delegate

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/tier"
)

const (
	// checksAge is how old the answer may be that all checks of one request to
	// /readyz share.
	checksAge = 100 * time.Millisecond
	// checksTimeout bounds the asking. Kubelets and load balancers give up
	// after a second.
	checksTimeout = 900 * time.Millisecond
)

// ReadyChecks returns the delegate's readiness checks under their own names,
// but for those in except, for the readiness of the head. Which checks there
// are is asked now; none are when the delegate is away. With required, each
// fails while the delegate is away or starting; else they fail only while it is
// starting, and until the deadline.
func (d *Delegate) ReadyChecks(ctx context.Context, required bool, deadline time.Time, except map[string]bool) []healthz.HealthChecker {
	ctx, cancel := context.WithTimeout(ctx, checksTimeout)
	defer cancel()
	remote := &remoteChecks{delegate: d, required: required, deadline: deadline}
	out := []healthz.HealthChecker{healthz.NamedCheck("tier-"+string(d.Tier), remote.reached)}
	answer, err := d.Client.Checks(ctx)
	if err != nil {
		return out
	}
	for _, check := range answer.GetChecks() {
		name := check.GetName()
		if !except[name] {
			out = append(out, healthz.NamedCheck(name, func(*http.Request) error { return remote.check(name) }))
		}
	}
	return out
}

type remoteChecks struct {
	delegate *Delegate
	required bool
	deadline time.Time

	mu      sync.Mutex
	asked   time.Time
	results map[string]bool
	err     error
}

// reached is the check of the delegate as a whole.
func (c *remoteChecks) reached(*http.Request) error {
	state, _ := c.delegate.Client.State()
	switch {
	case c.dispensable(state):
		return nil // degraded: its groups are stale or 503, everything else is served
	case state.Refused != nil:
		return state.Refused
	case handshake.At(tier.Ready)(state):
		return nil
	}
	return fmt.Errorf("the %s tier is not ready", c.delegate.Tier)
}

func (c *remoteChecks) check(name string) error {
	state, _ := c.delegate.Client.State()
	switch {
	case c.dispensable(state):
		return nil
	case !state.Connected: // to ask would wait for an answer until it is too late
		return fmt.Errorf("the %s tier is away", c.delegate.Tier)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) > checksAge {
		c.ask()
	}
	if c.err != nil {
		return c.err
	}
	if ok, known := c.results[name]; known && !ok {
		return fmt.Errorf("%s fails in the %s tier", name, c.delegate.Tier)
	}
	return nil
}

// dispensable tells whether the head may be ready whatever the delegate says: a
// tier that one can do without is not waited for when it is away, and not for
// ever when it hangs.
func (c *remoteChecks) dispensable(s handshake.State) bool {
	return !c.required && (!s.Connected || time.Now().After(c.deadline))
}

func (c *remoteChecks) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), checksTimeout)
	defer cancel()
	answer, err := c.delegate.Client.Checks(ctx)
	c.asked, c.err, c.results = time.Now(), err, map[string]bool{}
	for _, check := range answer.GetChecks() {
		c.results[check.GetName()] = check.GetOk()
	}
}
