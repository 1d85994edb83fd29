package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Relocation moves everything below a prefix to another etcd, as it is stored. Nobody
// may write to either meanwhile.
type Relocation struct {
	Source, Target *clientv3.Client
	// Prefix is --etcd-prefix.
	Prefix string
	// ID is of where Source has its data. What an earlier attempt with the same ID has left in Target is
	// gone on with.
	ID string
	// Overwrite: what Target has below the prefix is replaced, whoever wrote it.
	Overwrite bool
	// Tell is called with what is being done, how far it has come and how far it has to go, in keys.
	Tell func(step string, done, total int64)
}

// Relocated is what a relocation has done.
type Relocated struct {
	Tally
	// Ranges is how many kinds of keys were compared, each by itself.
	Ranges int
	// Raised is how many writes it took to raise the revision of the target, From and To are those
	// that clients knew last, and above which all is in the target.
	Raised, From, To int64
}

// NotEmptyError tells that an etcd holds what was not to be overwritten.
type NotEmptyError struct{ key string }

func (e *NotEmptyError) Error() string {
	return "the etcd to move to is not empty, it has " + e.key
}

// Copy has Target be what Source is, at higher revisions, compares what is in both, and has Target forget
// all of before. Source is only read, and until Arrive is called Target is none to serve from: see Arriving. Whatever
// ends it earlier, the next attempt goes on.
func (r Relocation) Copy(ctx context.Context) (*Relocated, error) {
	c := &copier{keys: under(r.Prefix), source: r.Source, target: r.Target}
	if err := r.wholly(ctx, c.keys); err != nil {
		return nil, err
	}
	if err := r.occupy(ctx, c.keys); err != nil {
		return nil, err
	}
	var err error
	if c.leases, err = twinLeases(ctx, r.Source, r.Target); err != nil {
		return nil, err
	}
	defer c.leases.drop()
	whole := spanOf(c.keys.prefix)
	now, err := r.Source.Get(ctx, whole.from, clientv3.WithRange(whole.to), clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("cannot read what there is: %w", err)
	}
	done := &Relocated{From: now.Header.Revision}
	c.raised = func(done, total int64) { r.Tell("raising the revision", done, total) }
	c.raised(0, 1)
	if done.Raised, err = c.raise(ctx, done.From+raiseSlack); err != nil {
		return nil, err
	}
	if err := c.relocate(ctx, whole, done.From, r.counting("copying", now.Count)); err != nil {
		return nil, err
	}
	if _, err := r.Target.Delete(ctx, c.keys.raise()); err != nil {
		return nil, fmt.Errorf("cannot delete %s: %w", c.keys.raise(), err)
	}
	if err := c.verify(ctx, whole, done, r.counting("comparing", 2*now.Count)); err != nil {
		return nil, err
	}
	if err := c.compact(ctx); err != nil {
		return nil, err
	}
	done.To, err = revisionOf(ctx, r.Target)
	return done, err
}

func (r Relocation) counting(step string, total int64) func() {
	done := int64(0)
	r.Tell(step, done, total)
	return func() {
		done++
		r.Tell(step, done, max(done, total))
	}
}

// wholly refuses a source that has more than what is below the prefix: it would be left behind.
func (r Relocation) wholly(ctx context.Context, k keys) error {
	whole := spanOf(k.prefix)
	for _, s := range without(span{"\x00", "\xff"}, whole) {
		others := cursor{client: r.Source, span: s, options: []clientv3.OpOption{clientv3.WithKeysOnly()}}
		for {
			kv, err := others.next(ctx)
			if err != nil {
				return err
			}
			if kv == nil {
				break
			}
			if !slices.Contains(ownToEach, string(kv.Key)) {
				return fmt.Errorf("the data has the key %s, which does not begin with %s: give the --etcd-prefix that the supervisor had", kv.Key, k.prefix)
			}
		}
	}
	return nil
}

// ownToEach are keys by which API servers agree about one etcd.
var ownToEach = []string{"compact_rev_key"}

// occupy makes sure that Target is empty below the prefix, or was begun by the same source, and
// says that it must not be served from.
func (r Relocation) occupy(ctx context.Context, k keys) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	from, err := arrivingFrom(ctx, r.Target, k)
	if err != nil || from == r.ID {
		return err
	}
	whole := spanOf(k.prefix)
	first, err := r.Target.Get(ctx, whole.from, clientv3.WithRange(whole.to), clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	if err != nil {
		return fmt.Errorf("cannot read from the etcd to move to: %w", err)
	}
	if len(first.Kvs) > 0 && !r.Overwrite {
		return &NotEmptyError{string(first.Kvs[0].Key)}
	}
	if _, err := r.Target.Put(ctx, k.arriving(), r.ID); err != nil {
		return fmt.Errorf("cannot write to the etcd to move to: %w", err)
	}
	return nil
}

// relocate copies a span as it was at revision.
func (c *copier) relocate(ctx context.Context, whole span, revision int64, copied func()) error {
	c.copied = copied
	return c.mirrorAll(ctx, []span{whole}, 1, revision)
}

// verify reads a span of both and compares count and hash of each kind of keys.
func (c *copier) verify(ctx context.Context, whole span, done *Relocated, read func()) error {
	want, err := c.tallies(ctx, cursor{client: c.source, span: whole, revision: done.From}, c.leases.holds, read)
	if err != nil {
		return err
	}
	got, err := c.tallies(ctx, cursor{client: c.target, span: whole}, leased, read)
	if err != nil {
		return err
	}
	for kind, is := range got {
		if want[kind] == nil {
			return fmt.Errorf("the etcd to move to has %d keys below %s%s that were not copied: something else writes to it", is.Keys, c.keys.prefix, kind)
		}
	}
	for kind, is := range want {
		there := got[kind]
		if there == nil {
			there = newTally()
		}
		if !is.equal(there) {
			return fmt.Errorf("below %s%s there are %d keys of %d bytes, and in the etcd to move to %d of %d, or others: something else writes to it, or it has lost what it was given",
				c.keys.prefix, kind, is.Keys, is.Bytes, there.Keys, there.Bytes)
		}
		done.Keys, done.Bytes, done.Ranges = done.Keys+is.Keys, done.Bytes+is.Bytes, done.Ranges+1
	}
	return nil
}

// tallies are what there is, by the segment after the prefix.
func (c *copier) tallies(ctx context.Context, all cursor, ends func(*mvccpb.KeyValue) bool, read func()) (map[string]*Tally, error) {
	found := map[string]*Tally{}
	for {
		kv, err := all.next(ctx)
		if err != nil || kv == nil {
			return found, err
		}
		if string(kv.Key) == c.keys.arriving() {
			continue
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), c.keys.prefix), "/")
		if found[kind] == nil {
			found[kind] = newTally()
		}
		by := byte(0)
		if ends(kv) {
			by = 1
		}
		found[kind].add(kv.Key, kv.Value, by)
		read()
	}
}

func leased(kv *mvccpb.KeyValue) bool { return kv.Lease != 0 }

// Arrive says that Target may be served from.
func (r Relocation) Arrive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := r.Target.Delete(ctx, under(r.Prefix).arriving()); err != nil {
		return fmt.Errorf("cannot say that etcd may be served from: %w", err)
	}
	return nil
}

// Begun tells whether Target is waiting for Arrive, by the same ID.
func (r Relocation) Begun(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	from, err := arrivingFrom(ctx, r.Target, under(r.Prefix))
	return from == r.ID, err
}

// left stands for an id in an etcd whose data was moved away.
const left = "left"

var (
	// ErrArriving tells that a relocation to an etcd is not done: a part of what there is is missing there.
	ErrArriving = errors.New("what is being moved to that etcd is not all there: run supervisor migrate to-etcd again, to its end")
	// ErrLeft tells that what an etcd has is that of before it was moved away.
	ErrLeft = errors.New("what that etcd has was moved to the etcd that a supervisor runs: start that one without --etcd-servers, or run supervisor migrate to-embedded to its end")
)

// Leave says that c is not to be served from any more. stay takes that back, unless it was said before: what
// had been begun then may have been done. An etcd that has nothing below the prefix is refused, since who serves from it uses
// another one.
func Leave(ctx context.Context, c *clientv3.Client, prefix string) (stay func(context.Context) error, err error) {
	err = Arriving(ctx, c, prefix)
	if errors.Is(err, ErrLeft) {
		return func(context.Context) error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	k := under(prefix)
	whole := spanOf(k.prefix)
	switch has, err := c.Get(ctx, whole.from, clientv3.WithRange(whole.to), clientv3.WithCountOnly()); {
	case err != nil:
		return nil, fmt.Errorf("cannot read from the etcd to move from: %w", err)
	case has.Count == 0:
		return nil, fmt.Errorf("the etcd to move from has nothing below %s: give the --etcd-prefix that its supervisors had", k.prefix)
	}
	if _, err := c.Put(ctx, k.arriving(), left); err != nil {
		return nil, fmt.Errorf("cannot write to the etcd to move from: %w", err)
	}
	return func(ctx context.Context) error { return Relocation{Target: c, Prefix: prefix}.Arrive(ctx) }, nil
}

// Arriving returns ErrArriving if a relocation to an etcd was begun and is not done, and ErrLeft if
// what it has was moved away.
func Arriving(ctx context.Context, c *clientv3.Client, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch from, err := arrivingFrom(ctx, c, under(prefix)); {
	case err != nil:
		return err
	case from == left:
		return ErrLeft
	case from != "":
		return ErrArriving
	}
	return nil
}

func arrivingFrom(ctx context.Context, c *clientv3.Client, k keys) (string, error) {
	answer, err := c.Get(ctx, k.arriving())
	if err != nil {
		return "", fmt.Errorf("cannot read whether a move to etcd is done: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return "", nil
	}
	return string(answer.Kvs[0].Value), nil
}
