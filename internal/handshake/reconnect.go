package handshake

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

const (
	// reconnectPatience is how long Reconnect waits for the new connection.
	reconnectPatience = 5 * time.Second
	// callPatience is how long calls that were begun on the old one may take.
	callPatience = 30 * time.Second
)

// movedError ends a watch that goes on by another connection, to the same incarnation.
type movedError struct{ incarnation string }

func (e *movedError) Error() string { return "there is a new connection" }

func (c *Client) connection() *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// follow is watch, until Reconnect has another connection.
func (c *Client) follow(ctx context.Context, moved string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	c.follows = cancel
	c.mu.Unlock()
	err := c.watch(ctx, moved)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Reconnect replaces the connection by a new one, for which TLS is asked anew who we are, and who the process
// is taken for. Nothing is forgotten meanwhile. A process that is not connected is left alone: the next
// attempt is made anew in any case.
func (c *Client) Reconnect(ctx context.Context) error {
	if !c.Connected() {
		return nil
	}
	next, err := c.dial()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reconnectPatience)
	defer cancel()
	d, err := handshakev1.NewHandshakeClient(next).Describe(ctx, &handshakev1.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		_ = next.Close()
		if !c.Connected() {
			return nil
		}
		return fmt.Errorf("cannot connect to %s anew: %w", c.tier, err)
	}
	c.mu.Lock()
	old, end := c.conn, c.follows
	c.conn, c.left = next, append(c.left, old)
	c.mu.Unlock()
	if end != nil {
		end(&movedError{d.GetIncarnation()})
	}
	time.AfterFunc(callPatience, func() { c.forget(old) })
	return nil
}

// forget closes a connection that was left.
func (c *Client) forget(old *grpc.ClientConn) {
	_ = old.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = slices.DeleteFunc(c.left, func(other *grpc.ClientConn) bool { return other == old })
}

// close closes all connections.
func (c *Client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range append(c.left, c.conn) {
		_ = one.Close()
	}
}

// Reconnect is that of the clients of all replicas.
func (r *Replicas) Reconnect(ctx context.Context) error {
	r.mu.Lock()
	members := append([]*member(nil), r.members...)
	r.mu.Unlock()
	var all sync.WaitGroup
	errs := make([]error, len(members))
	for i, m := range members {
		all.Go(func() { errs[i] = m.Reconnect(ctx) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
