package handshake

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
)

// A new connection takes the place of the old one before that goes: nobody sees the process away.
func TestReconnectForgetsNothing(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := p.live("first")
	s.Reach(tier.Configured)
	s.Reach(tier.Prepared)
	c := p.client(tier.Aggregator)
	lost := 0
	c.OnLost(func() { lost++ })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	if _, err := c.Wait(ctx, func(s State) bool { return s.Reached[tier.Prepared] }); err != nil {
		t.Fatal(err)
	}
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			state, changed := c.State()
			if !state.Connected || !state.Reached[tier.Prepared] {
				t.Errorf("it was seen as %+v", state)
			}
			select {
			case <-changed:
			case <-done:
				return
			}
		}
	}()
	before := c.connection()
	for range 3 {
		if err := c.Reconnect(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if c.connection() == before {
		t.Error("the connection is the same")
	}
	// News come by the new connection once those of before are gone.
	c.forget(before)
	s.Reach(tier.Ready)
	if _, err := c.Wait(ctx, func(s State) bool { return s.Reached[tier.Ready] }); err != nil {
		t.Fatal(err)
	}
	close(done)
	<-watched
	if lost > 0 {
		t.Errorf("it was lost %d times", lost)
	}
}

// Who is not trusted any more is shut out, on connections that were there too.
func TestTheDoorClosesBehindThoseWhoAreNotTrusted(t *testing.T) {
	for _, patience := range []time.Duration{0, 50 * time.Millisecond} {
		p := newPlace(t, tier.Core)
		s := p.live("first")
		s.Reach(tier.Configured)
		c := p.client(tier.Aggregator)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Run(ctx); close(ended) }()
		if _, err := c.Wait(ctx, func(s State) bool { return s.Connected }); err != nil {
			t.Fatal(err)
		}
		w := p.paths.Internal(tier.Core)
		trusted, err := pki.Credentials(w.CA, w.Serving)
		if err != nil {
			t.Fatal(err)
		}
		s.Verify(trusted.Now().Roots, patience)
		if !c.Connected() {
			t.Error("one who is trusted was shut out")
		}
		s.Verify(x509.NewCertPool(), patience)
		if _, err := c.Wait(ctx, func(s State) bool { return !s.Connected }); err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(ctx); err == nil {
			t.Error("one who is not trusted is let in")
		}
		cancel()
		<-ended
	}
}
