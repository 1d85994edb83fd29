package handshake

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

func TestTheTunnelsAreCountedForTheSupervisor(t *testing.T) {
	p := newPlace(t, tier.Core)
	s := NewServer(serverTLS(t, p.paths, p.tier), &handshakev1.DescribeResponse{Incarnation: "first"})
	s.RegisterTunnels(func() *handshakev1.CountResponse { return &handshakev1.CountResponse{Up: 7} })
	p.serve(s)
	if count, err := p.countTunnels(identity.Supervisor); err != nil || count.GetUp() != 7 {
		t.Errorf("the supervisor: %v, %v", count, err)
	}
	if count, err := p.countTunnels(tier.Extensions); status.Code(err) != codes.PermissionDenied {
		t.Errorf("extensions: %v, %v", count, err)
	}
}

// Nothing is the answer of a core that was built before there was such a question, too.
func TestACoreWithoutTunnelsSaysNothing(t *testing.T) {
	p := newPlace(t, tier.Core)
	p.live("first")
	if count, err := p.countTunnels(identity.Supervisor); err != nil || count != nil {
		t.Errorf("%v, %v", count, err)
	}
}

func (p *place) countTunnels(as tier.Name) (*handshakev1.CountResponse, error) {
	mine := p.paths.Internal(as)
	return CountTunnels(p.t.Context(), p.listener.Addr().String(), tlsOf(p.t, mine.CA, mine.Self, identity.ServerName(p.tier)))
}
