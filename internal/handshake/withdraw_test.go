package handshake

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// Who may have the API withdrawn can hide it from every node.
func TestOnlyTheSupervisorMayHaveTheAPIWithdrawn(t *testing.T) {
	p := newPlace(t, tier.Core)
	calls, fault := 0, error(nil)
	s := NewServer(serverTLS(t, p.paths, p.tier), &handshakev1.DescribeResponse{Incarnation: "first"})
	s.RegisterWithdrawal(func() error { calls++; return fault })
	p.serve(s)
	ask := func(name tier.Name) codes.Code {
		mine := p.paths.Internal(name)
		return status.Code(Withdraw(t.Context(), p.listener.Addr().String(), tlsOf(t, mine.CA, mine.Self, identity.ServerName(tier.Core))))
	}
	for _, name := range []tier.Name{tier.Aggregator, tier.Core, tier.Extensions} {
		if got := ask(name); got != codes.PermissionDenied || calls != 0 {
			t.Errorf("%s: got %s after %d calls", name, got, calls)
		}
	}
	if got := ask(identity.Supervisor); got != codes.OK || calls != 1 {
		t.Errorf("the supervisor: got %s after %d calls", got, calls)
	}
	fault = errors.New("still starting")
	if got := ask(identity.Supervisor); got != codes.Unavailable {
		t.Errorf("core cannot: got %s", got)
	}
}
