package supervisor

import (
	"errors"
	"net"
	"testing"
	"time"
)

// Whoever starts right after a kill gets the port as soon as the last process of before
// lets go of it, and is told in the same words as ever if none does.
func TestAPortIsAwaitedAfterAKill(t *testing.T) {
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	address, tries := holder.Addr().String(), 0
	open := func() error {
		if tries++; tries == 3 {
			holder.Close()
		}
		s, err := listen(address, nil)
		if err != nil {
			return cannotListen(err, address, "secure-port", "bind-address", "")
		}
		return s.file.Close()
	}
	if err := afterPredecessor(t.Context(), time.Minute, open); err != nil || tries < 3 {
		t.Errorf("%v after %d tries", err, tries)
	}

	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	address, tries = other.Addr().String(), 3
	if err := afterPredecessor(t.Context(), 2*predecessorPoll, open); !errors.As(err, new(takenError)) || tries < 5 {
		t.Errorf("%v after %d tries", err, tries-3)
	}

	tries = 0
	forbidden := errors.New("forbidden")
	if err := afterPredecessor(t.Context(), time.Minute, func() error { tries++; return forbidden }); err != forbidden || tries != 1 {
		t.Errorf("%v after %d tries: no wait mends that", err, tries)
	}
}
