package handshake

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// siblings is what supervisors of other hosts follow, and how many do.
type siblings struct {
	handshakev1.UnimplementedSiblingsServer

	mu        sync.Mutex
	now       *handshakev1.FollowResponse
	changed   chan struct{} // closed and replaced whenever now or followers changes
	followers int
}

func newSiblings() *siblings {
	return &siblings{now: &handshakev1.FollowResponse{}, changed: make(chan struct{})}
}

// set changes what is known. The caller does not hold the lock.
func (s *siblings) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Follow implements handshakev1.SiblingsServer. Who comes when the process is leaving is
// told and not waited for.
func (s *siblings) Follow(_ *handshakev1.FollowRequest, stream grpc.ServerStreamingServer[handshakev1.FollowResponse]) error {
	if err := onlySupervisor(stream.Context(), "follow replicas"); err != nil {
		return err
	}
	late := false
	s.set(func() {
		if late = s.now.GetLeaving(); !late {
			s.followers++
		}
	})
	if !late {
		defer s.set(func() { s.followers-- })
	}
	var sent *handshakev1.FollowResponse
	for {
		s.mu.Lock()
		now, changed := s.now, s.changed
		s.mu.Unlock()
		if now != sent {
			if err := stream.Send(now); err != nil {
				return err
			}
			sent = now
		}
		if late {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// SetSiblings says which replicas the process' tier has on this host, itself among them.
func (s *Server) SetSiblings(all []*handshakev1.Sibling) {
	s.siblings.set(func() {
		if !s.siblings.now.GetLeaving() {
			s.siblings.now = &handshakev1.FollowResponse{Siblings: all}
		}
	})
}

// LeaveHosts says to other hosts that this process is about to stop, and returns when
// none of them sends it anything any more, or with the error of ctx.
func (s *Server) LeaveHosts(ctx context.Context) error {
	own := s.description.GetReplica()
	s.siblings.set(func() {
		others := &handshakev1.FollowResponse{Leaving: true}
		for _, one := range s.siblings.now.GetSiblings() {
			if one.GetReplica() != own {
				others.Siblings = append(others.Siblings, one)
			}
		}
		s.siblings.now = others
	})
	for {
		s.siblings.mu.Lock()
		followers, changed := s.siblings.followers, s.siblings.changed
		s.siblings.mu.Unlock()
		if followers == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// WithSiblings has f called with the replicas that the process' tier has on its host, now
// and after each change. A process that is leaving, because it is about to stop, is not among
// them, and waits until f has returned: by then nothing may be sent there. Only a supervisor
// is told. It is to be called before Run.
func (c *Client) WithSiblings(f func(all []*handshakev1.Sibling, leaving bool)) { c.onSiblings = f }

func (c *Client) followSiblings(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	stream, err := handshakev1.NewSiblingsClient(c.connection()).Follow(ctx, &handshakev1.FollowRequest{})
	for err == nil {
		var now *handshakev1.FollowResponse
		if now, err = stream.Recv(); err != nil {
			break
		}
		c.onSiblings(now.GetSiblings(), now.GetLeaving())
		if now.GetLeaving() {
			return nil
		}
	}
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Unimplemented { // a process of before
		return nil
	}
	return err
}
