package supervisor

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// predecessorBound is how long processes of a supervisor that was killed may live on.
	// Each ends when it notices, which takes moments, and longer on a busy machine.
	predecessorBound = 15 * time.Second
	predecessorPoll  = 50 * time.Millisecond
)

// takenError tells that somebody listens on an address, who may be about to go.
type takenError struct{ error }

// afterPredecessor repeats open for at most bound while an address is taken: sockets are
// inherited, so the last process of a supervisor that was killed holds them. It returns
// the last error of open.
func afterPredecessor(ctx context.Context, bound time.Duration, open func() error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	var err error
	_ = wait.PollUntilContextCancel(ctx, predecessorPoll, true, func(context.Context) (bool, error) {
		err = open()
		return !errors.As(err, new(takenError)), nil
	})
	return err
}
