package sshaccess

import (
	"context"
	"errors"
	"time"
)

// A connection that has died without a sign is noticed within both together.
const (
	keepaliveEvery  = 10 * time.Second
	keepaliveAnswer = 5 * time.Second
)

// Attend asks the server for signs of life and returns when there are none, when
// the connection has ended, or when ctx has. The connection is closed then.
func (c *Client) Attend(ctx context.Context) error {
	defer c.Close()
	tick := time.NewTicker(keepaliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return c.why
		case <-tick.C:
			if err := c.askPatiently(ctx); err != nil {
				return err
			}
		}
	}
}

func (c *Client) askPatiently(ctx context.Context) error {
	patient, cancel := context.WithTimeout(ctx, keepaliveAnswer)
	defer cancel()
	if err := c.Ask(patient); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// Ask returns nil when the server gives a sign of life before ctx ends. It sends what
// OpenSSH sends: any answer will do, a refusal too, and anything else that comes
// meanwhile, behind which the answer may have to wait for long.
func (c *Client) Ask(ctx context.Context) error {
	heard := c.conn.next()
	asked := c.ask()
	select {
	case <-heard:
		return nil
	case <-asked.answered:
		return asked.err
	case <-ctx.Done():
		return errors.New("the server does not answer any more")
	}
}

// keepalive is a question to the server.
type keepalive struct {
	answered chan struct{} // closed with the answer, or when there is an error
	err      error
}

// ask asks the server, unless it has not answered the last question: one at a time is
// under way.
func (c *Client) ask() *keepalive {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil {
		return c.asked
	}
	k := &keepalive{answered: make(chan struct{})}
	c.asked = k
	go func() {
		_, _, k.err = c.SendRequest("keepalive@openssh.com", true, nil)
		c.mu.Lock()
		c.asked = nil
		c.mu.Unlock()
		close(k.answered)
	}()
	return k
}
