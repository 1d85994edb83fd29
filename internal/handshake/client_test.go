package handshake

import (
	"context"
	"crypto/tls"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

func serving(group string) *handshakev1.RoutesResponse {
	return &handshakev1.RoutesResponse{GroupVersions: []*handshakev1.GroupVersion{{Group: group, Version: "v1"}}}
}

func groupOf(s State) string {
	for _, gv := range s.Routes.GetGroupVersions() {
		return gv.GetGroup()
	}
	return ""
}

func TestStagesAreSeenOneAfterTheOtherAndNoneBeforeItIsReached(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := p.live("first")
	s.Publish(serving("apps"))
	c := p.run(p.client(tier.Aggregator))
	for i, stage := range tier.Stages {
		s.Reach(stage)
		state := await(t, c, string(stage), At(stage))
		for _, later := range tier.Stages[i+1:] {
			if At(later)(state) {
				t.Errorf("at %s, %s counts as reached", stage, later)
			}
		}
	}
}

func TestReadyMayBeLostAndRegained(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := p.live("first")
	s.Publish(serving("apps"))
	c := p.run(p.client(tier.Aggregator))
	for range 2 {
		s.Reach(tier.Ready)
		await(t, c, "ready", At(tier.Ready))
		s.Leave(tier.Ready)
		await(t, c, "not ready", func(s State) bool { return s.Connected && !s.Reached[tier.Ready] })
	}
}

// Requests would be routed by what another process served.
func TestPreparedIsNotReachedByTheRoutesOfAnEarlierLife(t *testing.T) {
	prepared := map[tier.Stage]bool{tier.Configured: true, tier.Constructed: true, tier.Prepared: true}
	here := &handshakev1.DescribeResponse{Incarnation: "second"}
	for name, c := range map[string]struct {
		state       State
		stage       tier.Stage
		constructed bool
		prepared    bool
	}{
		"told by this life":      {state: State{Description: here, Reached: prepared, Routes: &handshakev1.RoutesResponse{Incarnation: "second"}}, constructed: true, prepared: true},
		"told by an earlier one": {state: State{Description: here, Reached: prepared, Routes: &handshakev1.RoutesResponse{Incarnation: "first"}}, constructed: true},
		"nothing told":           {state: State{Description: here, Reached: prepared}, constructed: true},
		"lost":                   {state: State{Description: here, Routes: &handshakev1.RoutesResponse{Incarnation: "second"}}},
		"refused": {state: State{Description: here, Reached: prepared, Refused: context.Canceled,
			Routes: &handshakev1.RoutesResponse{Incarnation: "second"}}},
		"never seen": {},
	} {
		if got := At(tier.Constructed)(c.state); got != c.constructed {
			t.Errorf("%s: at constructed is %v", name, got)
		}
		if got := At(tier.Prepared)(c.state); got != c.prepared {
			t.Errorf("%s: at prepared is %v", name, got)
		}
	}
}

func TestALostProcessIsNoticedThoughItsListenerStaysOpen(t *testing.T) {
	p := newPlace(t, tier.Extensions)
	var lost atomic.Int32
	c := p.client(tier.Core)
	c.OnLost(func() { lost.Add(1) })
	p.run(c)

	first := p.live("first")
	first.Publish(serving("example.org"))
	first.Reach(tier.Prepared)
	await(t, c, "the first life", At(tier.Prepared))
	if err := c.Available(); err != nil {
		t.Errorf("not available: %v", err)
	}
	if n := lost.Load(); n != 0 {
		t.Errorf("lost %d times before anything was", n)
	}

	first.Stop()
	state := await(t, c, "the loss", gone)
	if groupOf(state) != "example.org" {
		t.Errorf("what it served is forgotten: %v", state.Routes)
	}
	if state.Description.GetIncarnation() != "first" {
		t.Errorf("who it was is forgotten: %v", state.Description)
	}
	if c.Available() == nil {
		t.Error("the dead are available")
	}

	second := p.live("second")
	second.Reach(tier.Prepared)
	state = await(t, c, "the second life's stage", func(s State) bool { return s.Reached[tier.Prepared] })
	if At(tier.Prepared)(state) {
		t.Error("prepared by the routes of the first life")
	}
	second.Publish(serving("example.com"))
	state = await(t, c, "the second life", At(tier.Prepared))
	if state.Description.GetIncarnation() != "second" || groupOf(state) != "example.com" {
		t.Errorf("got %v, %v", state.Description, state.Routes)
	}
	if n := lost.Load(); n != 1 {
		t.Errorf("one loss was told %d times", n)
	}
}

func TestWhatWasNeverThereIsNotLost(t *testing.T) {
	p := newPlace(t, tier.Extensions)
	c := p.client(tier.Core)
	c.OnLost(func() { t.Error("lost") })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx)
	}()
	attempt, err := p.listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	attempt.Close()
	cancel()
	<-done
}

func TestAStageOfADeadProcessIsNotTheNextOnes(t *testing.T) {
	p := newPlace(t, tier.Extensions)
	c := p.run(p.client(tier.Core))
	first := p.live("first")
	first.Reach(tier.Ready)
	await(t, c, "ready", func(s State) bool { return s.Reached[tier.Ready] })
	first.Stop()
	p.live("second").Reach(tier.Configured)
	state := await(t, c, "the second life", func(s State) bool { return s.Reached[tier.Configured] })
	if state.Reached[tier.Ready] {
		t.Error("ready, as the dead one was")
	}
}

func TestAProcessThatDoesNotFitIsNotWorkedWith(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*handshakev1.DescribeResponse)
		says   []string
	}{
		"older protocol": {func(d *handshakev1.DescribeResponse) { d.Protocol, d.OldestProtocol = Protocol-2, Protocol-3 }, []string{"core", "protocol", "one version"}},
		"newer protocol": {func(d *handshakev1.DescribeResponse) { d.Protocol, d.OldestProtocol = Protocol+2, Protocol+1 }, []string{"core", "protocol", "one version"}},
		"other minor":    {func(d *handshakev1.DescribeResponse) { d.Settings = map[string]string{Emulated: "1.39"} }, []string{"core", "1.37", "1.39"}},
		"other setting":  {func(d *handshakev1.DescribeResponse) { d.Settings = map[string]string{"feature-gates": "b"} }, []string{"core", "--feature-gates"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, tier.Core)
			s := p.live("first", c.change)
			s.Publish(serving("apps"))
			s.Reach(tier.Prepared)
			client := p.run(p.client(tier.Aggregator))
			state := await(t, client, "stages and routes", func(s State) bool { return s.Reached[tier.Prepared] && s.Routes != nil })
			if state.Refused == nil || At(tier.Prepared)(state) || client.Available() == nil {
				t.Fatalf("refused: %v, available: %v", state.Refused, client.Available())
			}
			for _, part := range c.says {
				if !strings.Contains(state.Refused.Error(), part) {
					t.Errorf("%q does not say %q", state.Refused, part)
				}
			}
			// A fitting process that takes its place is welcome.
			s.Stop()
			next := p.live("second")
			next.Publish(serving("apps"))
			next.Reach(tier.Prepared)
			await(t, client, "the next one", At(tier.Prepared))
		})
	}
}

func TestOnlySettingsThatBothKnowAreCompared(t *testing.T) {
	for name, c := range map[string]struct {
		mine, theirs map[string]string
		differs      string
	}{
		"equal":            {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1", "b": "2"}, ""},
		"theirs are fewer": {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1"}, ""},
		"theirs are more":  {map[string]string{"a": "1"}, map[string]string{"a": "1", "b": "2"}, ""},
		"mine are none":    {nil, map[string]string{"a": "1"}, ""},
		"one differs":      {map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1", "b": "3"}, "--b"},
		"one is empty":     {map[string]string{"a": "1"}, map[string]string{"a": ""}, "--a"},
	} {
		err := Compatible(&handshakev1.DescribeResponse{Protocol: Protocol, OldestProtocol: OldestProtocol, Tier: "core", Settings: c.theirs}, c.mine)
		if (err == nil) != (c.differs == "") || (err != nil && !strings.Contains(err.Error(), c.differs)) {
			t.Errorf("%s: got %v, want %q", name, err, c.differs)
		}
	}
}

func TestWhyAProcessIsNotAvailable(t *testing.T) {
	for name, c := range map[string]struct {
		state State
		says  string
	}{
		"away":                {State{}, "away"},
		"away, was prepared":  {State{Reached: map[tier.Stage]bool{tier.Prepared: true}}, "away"},
		"starting":            {State{Connected: true, Reached: map[tier.Stage]bool{tier.Constructed: true}}, "starting"},
		"refused":             {State{Connected: true, Reached: map[tier.Stage]bool{tier.Prepared: true}, Refused: context.Canceled}, "canceled"},
		"prepared":            {State{Connected: true, Reached: map[tier.Stage]bool{tier.Prepared: true}}, ""},
		"draining still does": {State{Connected: true, Reached: map[tier.Stage]bool{tier.Prepared: true, tier.Draining: true}}, ""},
	} {
		err := (&Client{tier: tier.Core, state: c.state}).Available()
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	c := newPlace(t, tier.Core).client(tier.Aggregator)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Run(ctx) // closes the connection
	if _, err := c.Wait(ctx, At(tier.Prepared)); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if _, err := c.Wait(ctx, gone); err != nil {
		t.Errorf("what is true already needs no waiting: %v", err)
	}
}

func TestNobodyWithoutACertificateOfTheInternalCAIsAnswered(t *testing.T) {
	p, stranger := newPlace(t, tier.Core), newPKI(t)
	p.live("first")
	for name, change := range map[string]func(*tls.Config){
		"no certificate": func(c *tls.Config) { c.Certificates = nil },
		"another CA's": func(c *tls.Config) {
			w := stranger.Internal(tier.Aggregator)
			c.Certificates = tlsOf(t, w.CA, w.Self, "").Certificates
		},
		// etcd's, the front proxy's and the clients' CAs vouch for nobody here.
		"the cluster CA's": func(c *tls.Config) {
			c.Certificates = tlsOf(t, p.paths.CA().Cert, p.paths.KubeletClient(), "").Certificates
		},
		"a serving certificate": func(c *tls.Config) {
			w := p.paths.Internal(tier.Core)
			c.Certificates = tlsOf(t, w.CA, w.Serving, "").Certificates
		},
	} {
		t.Run(name, func(t *testing.T) { wantNoAnswer(t, p.client(tier.Aggregator, change)) })
	}
}

func TestAProcessThatCannotProveItsTierIsNotBelieved(t *testing.T) {
	p, stranger := newPlace(t, tier.Core), newPKI(t)
	p.live("first")
	for name, change := range map[string]func(*tls.Config){
		"another tier": func(c *tls.Config) { c.ServerName = "extensions.tier.triptych.internal" },
		"another CA": func(c *tls.Config) {
			w := stranger.Internal(tier.Aggregator)
			c.RootCAs = tlsOf(t, w.CA, w.Self, "").RootCAs
		},
	} {
		t.Run(name, func(t *testing.T) { wantNoAnswer(t, p.client(tier.Aggregator, change)) })
	}
}

// wantNoAnswer calls and demands that the connection itself fails.
func wantNoAnswer(t *testing.T, c *Client) {
	t.Helper()
	defer c.conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := handshakev1.NewHandshakeClient(c.conn).Describe(ctx, &handshakev1.DescribeRequest{}, grpc.WaitForReady(false))
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestTheClientIsPatientNoLongerThanPromised(t *testing.T) {
	if sum := keepaliveTime + keepaliveTimeout; sum != 15*time.Second {
		t.Errorf("a silent process is taken for dead after %v", sum)
	}
}
