package custody

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// inFlight is how many writes etcd is sent at once: it stores them together.
const inFlight = 64

// Tally is an amount of data.
type Tally struct {
	Keys, Bytes int64
	sum         hash.Hash
}

func newTally() *Tally { return &Tally{sum: sha256.New()} }

// add adds a key, and what else is to be the same.
func (t *Tally) add(key, value []byte, more ...byte) {
	for _, part := range [][]byte{key, value, more} {
		t.sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		t.sum.Write(part)
	}
	t.Keys++
	t.Bytes += int64(len(key) + len(value))
}

func (t *Tally) equal(other *Tally) bool {
	return t.Keys == other.Keys && t.Bytes == other.Bytes && bytes.Equal(t.sum.Sum(nil), other.sum.Sum(nil))
}

// copier makes one etcd like another. Each key is written by itself: no two objects
// get the same resource version.
type copier struct {
	keys           keys
	source, target *clientv3.Client
	// leases has keys that end by themselves do so in the target, too; nil is for copies
	// in which there are none.
	leases *leases
	// copied is told of each key of the source that the target has, if there is one.
	copied func()
	// raised is told how many writes of how many have raised the revision of the target.
	raised func(done, total int64)
}

// mirror has the target be what the source was at revision: exactly so in what is
// extensions' for certain; of the rest it only adds what is missing.
func (c *copier) mirror(ctx context.Context, revision int64) error {
	certain, perhaps, err := c.keys.owned(ctx, c.source, revision, c.target)
	if err != nil {
		return err
	}
	return c.mirrorAll(ctx, append(certain, perhaps...), len(certain), revision)
}

// mirrorAll does so for spans, of which the first so many are to be exactly the same.
func (c *copier) mirrorAll(ctx context.Context, all []span, exact int, revision int64) (err error) {
	writes, ctx := errgroup.WithContext(ctx)
	writes.SetLimit(inFlight)
	for i, s := range all {
		if err = c.mirrorSpan(ctx, s, revision, i < exact, writes); err != nil {
			break
		}
	}
	// The first write that failed has cut the reads short.
	if failed := writes.Wait(); failed != nil {
		return failed
	}
	return err
}

func (c *copier) mirrorSpan(ctx context.Context, s span, revision int64, exact bool, writes *errgroup.Group) error {
	from := cursor{client: c.source, span: s, revision: revision}
	to := cursor{client: c.target, span: s}
	do := func(op clientv3.Op) {
		writes.Go(func() error {
			if _, err := c.target.Do(ctx, op); err != nil {
				return fmt.Errorf("cannot write %s: %w", op.KeyBytes(), err)
			}
			return nil
		})
	}
	want, err := from.next(ctx)
	if err != nil {
		return err
	}
	has, err := to.next(ctx)
	for err == nil && (want != nil || has != nil) {
		order := 0
		switch {
		case want == nil:
			order = 1
		case has == nil:
			order = -1
		default:
			order = bytes.Compare(want.Key, has.Key)
		}
		// What became of a cluster that was left still has that one's mark.
		if (order < 0 || order == 0 && exact && c.stale(want, has)) && string(want.Key) != c.keys.arriving() {
			do(clientv3.OpPut(string(want.Key), string(want.Value), c.leases.of(want)...))
		}
		if order > 0 && exact && string(has.Key) != c.keys.arriving() {
			do(clientv3.OpDelete(string(has.Key)))
		}
		if order <= 0 && c.copied != nil {
			c.copied()
		}
		if order <= 0 {
			want, err = from.next(ctx)
		}
		if order >= 0 && err == nil {
			has, err = to.next(ctx)
		}
	}
	return err
}

// stale tells whether a copy has to be written again. One that is older than what it is a copy of would have
// a resource version go back, whatever is in it.
func (c *copier) stale(want, has *mvccpb.KeyValue) bool {
	return !bytes.Equal(want.Value, has.Value) || has.ModRevision < want.ModRevision ||
		c.leases != nil && (want.Lease != 0 || has.Lease != 0)
}

// compare reads both as they are now, and tells whether they have the same in what is
// extensions' for certain, and the target all the rest.
func (c *copier) compare(ctx context.Context) (same bool, all *Tally, err error) {
	certain, perhaps, err := c.keys.owned(ctx, c.source, 0, c.target)
	if err != nil {
		return false, nil, err
	}
	all = newTally()
	there := newTally()
	for _, s := range certain {
		if err := count(ctx, c.source, s, all); err != nil {
			return false, nil, err
		}
		if err := count(ctx, c.target, s, there); err != nil {
			return false, nil, err
		}
	}
	same = all.equal(there)
	for _, s := range perhaps {
		missing, err := c.missing(ctx, s)
		if err != nil {
			return false, nil, err
		}
		same = same && missing == 0
	}
	return same, all, nil
}

func count(ctx context.Context, client *clientv3.Client, s span, into *Tally) error {
	all := cursor{client: client, span: s}
	for {
		kv, err := all.next(ctx)
		if err != nil || kv == nil {
			return err
		}
		into.add(kv.Key, kv.Value)
	}
}

// missing counts the keys of the source that the target has not.
func (c *copier) missing(ctx context.Context, s span) (n int, err error) {
	there := map[string]bool{}
	for _, client := range []*clientv3.Client{c.target, c.source} {
		all := cursor{client: client, span: s, options: []clientv3.OpOption{clientv3.WithKeysOnly()}}
		for {
			kv, err := all.next(ctx)
			if err != nil {
				return 0, err
			}
			if kv == nil {
				break
			}
			if client == c.target {
				there[string(kv.Key)] = true
			} else if !there[string(kv.Key)] {
				n++
			}
		}
	}
	return n, nil
}
