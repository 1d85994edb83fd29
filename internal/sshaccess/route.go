package sshaccess

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// dialTimeout bounds one connection, loginTimeout one login on it.
	dialTimeout  = 10 * time.Second
	loginTimeout = 10 * time.Second
	// bastionPause is how long a failure to reach the bastion is believed: all
	// nodes would ask again at once.
	bastionPause = time.Second
	// handshakes at the same time are enough to keep a machine busy.
	handshakes = 32
)

// Route logs in to nodes, through one connection to the bastion if there is one.
type Route struct {
	access *Access
	slots  chan struct{}

	mu     sync.Mutex
	jump   *Client // nil: not connected
	failed time.Time
	why    error
}

// NewRoute returns a route that has connected to nobody yet.
func NewRoute(a *Access) *Route {
	return &Route{access: a, slots: make(chan struct{}, handshakes)}
}

// Connect logs in to the node at host.
func (r *Route) Connect(ctx context.Context, host string) (*Client, error) {
	address := r.access.Address(host)
	// First, because without a known host key nothing has to be sent.
	config, err := r.access.Login(r.access.User, address)
	if err != nil {
		return nil, err
	}
	conn, err := r.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return r.login(ctx, conn, address, config)
}

func (r *Route) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if r.access.Bastion == "" {
		return dialTCP(ctx, address)
	}
	jump, err := r.Bastion(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := jump.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the bastion cannot reach %s: %w", address, err)
	}
	return conn, nil
}

// login waits for its turn, which does not count: it may be long where many nodes
// come at once.
func (r *Route) login(ctx context.Context, conn net.Conn, address string, config *ssh.ClientConfig) (*Client, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("cannot log in to %s: %w", address, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	// Connections through a bastion have no deadlines.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	client, err := NewClient(conn, address, config)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %v", loginTimeout)
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			return nil, &RefusedError{User: config.User, Address: address}
		}
		return nil, fmt.Errorf("cannot log in to %s: %w", address, err)
	}
	return client, nil
}

// RefusedError is that our key is not let in.
type RefusedError struct{ User, Address string }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s does not take the key for user %s: add the public key to its authorized_keys", e.Address, e.User)
}

// Bastion returns the connection to the bastion, a new one if the last has ended.
func (r *Route) Bastion(ctx context.Context) (*Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jump != nil {
		return r.jump, nil
	}
	if time.Since(r.failed) < bastionPause {
		return nil, r.why
	}
	jump, err := r.connectBastion(ctx)
	if err != nil {
		r.failed, r.why = time.Now(), fmt.Errorf("cannot use the bastion: %w", err)
		return nil, r.why
	}
	r.jump = jump
	go func() {
		_ = jump.Attend(context.Background())
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.jump == jump {
			r.jump = nil
		}
	}()
	return jump, nil
}

func (r *Route) connectBastion(ctx context.Context) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	user, address, err := r.access.BastionAddress()
	if err != nil {
		return nil, err
	}
	config, err := r.access.Login(user, address)
	if err != nil {
		return nil, err
	}
	conn, err := dialTCP(ctx, address)
	if err != nil {
		return nil, err
	}
	return r.login(ctx, conn, address, config)
}

// Close ends the connection to the bastion, and with it all that go through it.
func (r *Route) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jump != nil {
		r.jump.Close()
	}
}
