package handshake

import (
	"testing"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

// What a build of the version before says, and one of the version after: both are worked
// with, by what they were made of and not by a number.
func TestTheVersionsBesideThisOneAreWorkedWith(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*handshakev1.DescribeResponse)
	}{
		"before": {func(d *handshakev1.DescribeResponse) {
			d.Protocol, d.OldestProtocol = Protocol-1, Protocol-2
			// Protocol 1 has a hash of the flag, and knows nothing of what is emulated.
			d.Settings = map[string]string{"emulated-version": "4f53cda18c2baa0c0354bb5f9a3ecbe5", "feature-gates": "a"}
		}},
		"after": {func(d *handshakev1.DescribeResponse) { d.Protocol, d.OldestProtocol = Protocol+1, Protocol }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, tier.Core)
			s := p.live("first", c.change)
			s.Publish(serving("apps"))
			s.Reach(tier.Prepared)
			client := p.run(p.client(tier.Aggregator))
			await(t, client, "it is worked with", At(tier.Prepared))
			if err := client.Available(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNeighboursAreOneMinorApart(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1.37", "1.37", true}, {"1.37", "1.38", true}, {"1.38", "1.37", true}, {"1.9", "1.10", true},
		{"1.37", "1.39", false}, {"1.37", "2.37", false}, {"1.37", "2.38", false}, {"", "1.37", false}, {"x", "x", true},
	} {
		if neighbours(c.a, c.b) != c.want {
			t.Errorf("%q and %q: want %v", c.a, c.b, c.want)
		}
	}
}
