package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

const (
	// keepaliveTime and keepaliveTimeout add up to the 15 s after which a
	// process that says nothing is taken for dead. gRPC allows no ping more
	// often than every 10 s.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	// maxMessage holds the discovery document of some thousand CRDs.
	maxMessage = 64 << 20
	// connectTimeout bounds one attempt. The listener stays open while its
	// process is dead, so an attempt waits in the backlog and succeeds the
	// moment a new process accepts.
	connectTimeout = 5 * time.Second
	// retryDelay is the pause after a connection broke or was refused.
	retryDelay = 50 * time.Millisecond
)

// Client watches one process from its first moment, through its deaths.
type Client struct {
	tier     tier.Name
	settings map[string]string
	dial     func() (*grpc.ClientConn, error)

	mu      sync.Mutex
	conn    *grpc.ClientConn
	left    []*grpc.ClientConn      // those before, which may have calls to answer
	follows context.CancelCauseFunc // ends watch; nil while there is none
	state   State
	changed chan struct{} // closed and replaced whenever state changes
	onLost  []func()
	// onChange is called after each change of state, if it is set; before Run.
	onChange func()

	discovery bool // whether announcements are to bring the discovery document
	bursts    bool // whether State.Burst is kept

	onSiblings func(all []*handshakev1.Sibling, leaving bool) // nil where nobody wants to know
}

// State is what a Client knows at one moment. It is a value: what it points to
// is never changed.
type State struct {
	// Connected tells whether the process answers now.
	Connected bool
	// Description is who answers, or answered last; nil before the first time.
	Description *handshakev1.DescribeResponse
	// Reached are the stages the connected process has reached.
	Reached map[tier.Stage]bool
	// Routes is what the process serves, or served last; nil before the first
	// time. They outlive the process on purpose: its groups do not vanish.
	Routes *handshakev1.RoutesResponse
	// Burst tells whether the process has work that can wait for others'; see
	// Client.WithBursts.
	Burst bool
	// Refused says why the process must not be worked with, if so.
	Refused error
}

// NewClient returns a client of the process of the named tier at address, a
// host:port. cfg holds the caller's self certificate and the tier's server
// name; settings are the caller's own, see Compatible. Run does the work.
func NewClient(name tier.Name, address string, cfg *tls.Config, settings map[string]string) (*Client, error) {
	dial := func() (*grpc.ClientConn, error) { return dialHandshake(address, cfg) }
	conn, err := dial()
	if err != nil {
		return nil, fmt.Errorf("cannot watch %s: %w", name, err)
	}
	return &Client{tier: name, settings: settings, dial: dial, conn: conn, changed: make(chan struct{})}, nil
}

func dialHandshake(address string, cfg *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
	)
}

// OnLost has f called whenever the process is lost; f must not block. It is to
// be called before Run.
func (c *Client) OnLost(f func()) { c.onLost = append(c.onLost, f) }

// WithDiscovery has State.Routes bring the discovery document along, if the
// process knows how to. It is to be called before Run.
func (c *Client) WithDiscovery() { c.discovery = true }

// WithBursts has State.Burst be kept. It is to be called before Run.
func (c *Client) WithBursts() { c.bursts = true }

// Run watches until ctx ends, then closes the connection.
func (c *Client) Run(ctx context.Context) {
	defer c.close()
	for moved := ""; ctx.Err() == nil; {
		err := c.follow(ctx, moved)
		if to := (*movedError)(nil); errors.As(err, &to) {
			moved = to.incarnation
			continue
		}
		moved = ""
		if c.lose() {
			klog.InfoS("Lost a tier", "tier", c.tier, "reason", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryDelay):
		}
	}
}

// watch follows one incarnation until it is lost. What is known of the incarnation moved, if it is that, stays known.
func (c *Client) watch(ctx context.Context, moved string) error {
	d, err := handshakev1.NewHandshakeClient(c.connection()).Describe(ctx, &handshakev1.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if moved != "" && moved != d.GetIncarnation() {
		return fmt.Errorf("incarnation changed from %s to %s", moved, d.GetIncarnation())
	}
	refused := Compatible(d, c.settings)
	if refused != nil {
		klog.ErrorS(refused, "Refusing a tier", "tier", c.tier)
	}
	c.update(func(s *State) {
		s.Connected, s.Description, s.Refused = true, d, refused
		if moved == "" {
			s.Reached = map[tier.Stage]bool{}
		}
	})
	group, ctx := errgroup.WithContext(ctx)
	for _, stage := range tier.Stages {
		group.Go(func() error {
			return c.watchService(ctx, string(stage), func(s *State, now bool) {
				s.Reached = maps.Clone(s.Reached)
				s.Reached[stage] = now
			})
		})
	}
	if c.bursts {
		group.Go(func() error { return c.watchService(ctx, burst, func(s *State, now bool) { s.Burst = now }) })
	}
	if c.onSiblings != nil {
		group.Go(func() error { return c.followSiblings(ctx) })
	}
	group.Go(func() error { return c.watchRoutes(ctx, d.GetIncarnation()) })
	return group.Wait()
}

// watchService has learn called with every news of a service of package health.
func (c *Client) watchService(ctx context.Context, name string, learn func(s *State, serving bool)) error {
	stream, err := healthv1.NewHealthClient(c.connection()).Watch(ctx, &healthv1.HealthCheckRequest{Service: name})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		c.update(func(s *State) { learn(s, r.GetStatus() == healthv1.HealthCheckResponse_SERVING) })
	}
}

func (c *Client) watchRoutes(ctx context.Context, incarnation string) error {
	stream, err := handshakev1.NewHandshakeClient(c.connection()).Routes(ctx, &handshakev1.RoutesRequest{Discovery: c.discovery})
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		if r.GetIncarnation() != incarnation {
			return fmt.Errorf("incarnation changed from %s to %s", incarnation, r.GetIncarnation())
		}
		c.update(func(s *State) { s.Routes = r })
	}
}

func (c *Client) update(f func(*State)) {
	c.mu.Lock()
	f(&c.state)
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.onChange != nil {
		c.onChange()
	}
}

// lose forgets what ends with the process and tells whether there was one.
func (c *Client) lose() bool {
	c.mu.Lock()
	was := c.state.Connected
	c.mu.Unlock()
	c.update(func(s *State) { s.Connected, s.Reached, s.Burst, s.Refused = false, nil, false, nil })
	if was {
		for _, f := range c.onLost {
			f()
		}
	}
	return was
}

// Connected tells whether the process answers now.
func (c *Client) Connected() bool {
	state, _ := c.State()
	return state.Connected
}

// State returns what is known now and a channel that is closed at the next
// change.
func (c *Client) State() (State, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.changed
}

// Wait returns the first state for which ok is true, or the last one seen and
// ctx's error.
func (c *Client) Wait(ctx context.Context, ok func(State) bool) (State, error) {
	return wait(ctx, c.State, ok)
}

func wait(ctx context.Context, now func() (State, <-chan struct{}), ok func(State) bool) (State, error) {
	for {
		state, changed := now()
		if ok(state) {
			return state, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return state, ctx.Err()
		}
	}
}

// At returns a condition for Wait: the process has reached stage and told what
// it serves.
func At(stage tier.Stage) func(State) bool {
	return func(s State) bool {
		return s.Refused == nil && s.Reached[stage] && (!stage.AtLeast(tier.Prepared) || s.current())
	}
}

// current tells whether Routes are of the incarnation that is connected, and
// not what is remembered of the one before.
func (s State) current() bool {
	return s.Routes != nil && s.Routes.GetIncarnation() == s.Description.GetIncarnation()
}

// Complete is a condition for Wait: the process lives and has announced all that
// it will serve of its own accord.
func Complete(s State) bool {
	return s.Connected && At(tier.Prepared)(s) && s.Routes.GetComplete()
}

// Available returns nil when the process may be sent requests, else why not.
// It is called for every request and does not block.
func (c *Client) Available() error {
	state, _ := c.State()
	switch {
	case !state.Connected:
		return fmt.Errorf("the %s tier is away", c.tier)
	case state.Refused != nil:
		return state.Refused
	case !state.Reached[tier.Prepared]:
		return fmt.Errorf("the %s tier is starting", c.tier)
	}
	return nil
}

// Ready tells whether the process is at its best: ready, and not about to stop.
func (c *Client) Ready() bool { return c.standing() == standingReady }

// Ping returns nil if the process answers, whatever stage it is at.
func (c *Client) Ping(ctx context.Context) error {
	_, err := healthv1.NewHealthClient(c.connection()).Check(ctx, &healthv1.HealthCheckRequest{Service: string(tier.Configured)})
	return err
}

// Discovery returns the process' aggregated discovery document.
func (c *Client) Discovery(ctx context.Context) (*handshakev1.DiscoveryResponse, error) {
	return handshakev1.NewHandshakeClient(c.connection()).Discovery(ctx, &handshakev1.DiscoveryRequest{})
}

// Checks runs the process' readiness checks.
func (c *Client) Checks(ctx context.Context) (*handshakev1.ChecksResponse, error) {
	return handshakev1.NewHandshakeClient(c.connection()).Checks(ctx, &handshakev1.ChecksRequest{})
}

// Authenticate has core judge a bearer token. Only core answers, only the head.
// It fails at once when core is away or must not be worked with.
func (c *Client) Authenticate(ctx context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	if err := c.Available(); err != nil {
		return nil, err
	}
	return handshakev1.NewAuthenticatorClient(c.connection()).Authenticate(ctx, r)
}
