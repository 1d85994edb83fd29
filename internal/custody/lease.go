package custody

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leases are those of a source, each with a twin in the target that has as long to live. None
// of the twins ends before stop is called: what they hold can be compared meanwhile.
type leases struct {
	target *clientv3.Client
	twins  map[clientv3.LeaseID]clientv3.LeaseID
	stop   context.CancelFunc
}

// twinLeases must be called before the revision is read that is copied: what ended before is
// in neither.
func twinLeases(ctx context.Context, source, target *clientv3.Client) (*leases, error) {
	found, err := source.Leases(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read which leases there are: %w", err)
	}
	alive, stop := context.WithCancel(ctx)
	l := &leases{target: target, twins: map[clientv3.LeaseID]clientv3.LeaseID{}, stop: stop}
	for _, lease := range found.Leases {
		left, err := source.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
		if err != nil {
			l.drop()
			return nil, fmt.Errorf("cannot read how long a lease lives: %w", err)
		}
		if left.TTL <= 0 || len(left.Keys) == 0 {
			continue
		}
		if err := l.twin(ctx, alive, lease.ID, left.TTL); err != nil {
			l.drop()
			return nil, err
		}
	}
	return l, nil
}

func (l *leases) twin(ctx, alive context.Context, of clientv3.LeaseID, seconds int64) error {
	granted, err := l.target.Grant(ctx, seconds)
	if err != nil {
		return fmt.Errorf("cannot take a lease in the etcd to move to: %w", err)
	}
	answers, err := l.target.KeepAlive(alive, granted.ID)
	if err != nil {
		return fmt.Errorf("cannot keep a lease in the etcd to move to: %w", err)
	}
	go func() {
		for range answers { // the client warns if nobody reads them
		}
	}()
	l.twins[of] = granted.ID
	return nil
}

// of are the options by which a copy is written.
func (l *leases) of(kv *mvccpb.KeyValue) []clientv3.OpOption {
	if l == nil || !l.holds(kv) {
		return nil
	}
	return []clientv3.OpOption{clientv3.WithLease(l.twins[clientv3.LeaseID(kv.Lease)])}
}

// holds tells whether a key of the source ends by itself. A lease that nobody knows ends nothing.
func (l *leases) holds(kv *mvccpb.KeyValue) bool {
	_, ok := l.twins[clientv3.LeaseID(kv.Lease)]
	return ok
}

// drop has time go on for what the twins hold.
func (l *leases) drop() { l.stop() }
