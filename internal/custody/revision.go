package custody

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

var (
	// maxRaise is how many revisions are made up by writing, a quarter of an hour at
	// most on a disk that is not slow.
	maxRaise = int64(3_000_000)
	// raiseRound is how many of those are written before their history is dropped:
	// each takes some hundred bytes.
	raiseRound = int64(50_000)
)

// raiseSlack is more than other writers add while a raise is under way.
const raiseSlack = 1000

func revisionOf(ctx context.Context, c *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.Get(ctx, "revision", clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("cannot read the revision: %w", err)
	}
	return answer.Header.Revision, nil
}

// raise has the revision of the target be above that. Resource versions are revisions:
// who holds one of the source must not take it for one of the target's future, and wait.
func (c *copier) raise(ctx context.Context, above int64) (writes int64, err error) {
	for {
		now, err := revisionOf(ctx, c.target)
		if err != nil || now > above {
			return writes, err
		}
		if above-now > maxRaise {
			return writes, fmt.Errorf("the revision of the etcd to move to is %d, and must be above %d: that is too much to write; "+
				"save a snapshot of it and restore that with etcdutl snapshot restore --bump-revision %d --mark-compacted", now, above, above-now+above/10+raiseSlack)
		}
		round := min(above-now+1, raiseRound)
		puts, within := errgroup.WithContext(ctx)
		puts.SetLimit(inFlight)
		for range round {
			puts.Go(func() error {
				_, err := c.target.Put(within, c.keys.raise(), "")
				return err
			})
		}
		if err := puts.Wait(); err != nil {
			return writes, fmt.Errorf("cannot raise the revision: %w", err)
		}
		writes += round
		if c.raised != nil {
			c.raised(writes, above-now-round+writes)
		}
		if round == raiseRound {
			if err := c.compact(ctx); err != nil {
				return writes, err
			}
		}
	}
}

// compact forgets all history of the target: a resource version of the source that
// falls into it must be too old, and nothing else.
func (c *copier) compact(ctx context.Context) error {
	if _, err := c.target.Delete(ctx, c.keys.raise()); err != nil {
		return fmt.Errorf("cannot delete %s: %w", c.keys.raise(), err)
	}
	now, err := revisionOf(ctx, c.target)
	if err != nil {
		return err
	}
	if _, err := c.target.Compact(ctx, now); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("cannot compact: %w", err)
	}
	return nil
}
