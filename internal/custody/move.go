package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// movingSeconds is how long after the death of who moves extensions may serve again.
	movingSeconds = 15
	// rounds is how often is copied again what has changed meanwhile.
	rounds = 5
	// commitReads is how often is asked what became of the last write.
	commitReads = 20
)

// othersGrace is for the extensions of other hosts to hear of a move, and to finish what
// they have begun.
var othersGrace = time.Second

// Move is one move of what extensions stores from one etcd to another.
type Move struct {
	// Main is core's etcd. Source and Target are those to move from and to, one of
	// which may be Main.
	Main, Source, Target *clientv3.Client
	// Prefix is --etcd-prefix.
	Prefix string
	// Halt has extensions stop and returns when it has. It is called once.
	Halt func(context.Context) error
	// Say tells how far it is.
	Say func(format string, args ...any)
}

// ErrThere tells that there is nothing to move.
var ErrThere = errors.New("the custom resources are in that etcd already")

// Moved is what a move has done.
type Moved struct {
	Tally
	// Raised is how many writes it took to raise the revision of the target.
	Raised int64
}

// Run copies everything, halts extensions, copies what has changed since, verifies it and
// has Main say that Target is the holder. Before that last write Source is what counts;
// whatever ends Run earlier leaves everything as it was but for a copy in Target, which
// the next attempt goes on with. An error that is a *Unknown is from the last write.
func (m *Move) Run(ctx context.Context) (*Moved, error) {
	c := &copier{keys: under(m.Prefix), source: m.Source, target: m.Target}
	if err := m.different(ctx, c.keys); err != nil {
		return nil, err
	}
	name, err := m.prepare(ctx, c.keys)
	if err != nil {
		return nil, err
	}
	done := &Moved{}
	if err := m.copy(ctx, c, done); err != nil {
		return nil, err
	}
	m.Say("copied what there is: stopping extensions to copy the rest")
	if err := m.Halt(ctx); err != nil {
		return nil, err
	}
	fence, err := m.fence(ctx, c.keys)
	if err != nil {
		return nil, err
	}
	defer fence.drop()
	select {
	case <-time.After(othersGrace):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := m.settle(ctx, c, done); err != nil {
		return nil, err
	}
	return done, m.commit(ctx, c.keys, name, fence)
}

// different refuses one etcd under two addresses.
func (m *Move) different(ctx context.Context, k keys) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	nonce := uuid.NewString()
	if _, err := m.Target.Put(ctx, k.probe(), nonce); err != nil {
		return fmt.Errorf("cannot write to the etcd to move to: %w", err)
	}
	answer, err := m.Source.Get(ctx, k.probe())
	if err != nil {
		return fmt.Errorf("cannot read from the etcd to move from: %w", err)
	}
	if _, err := m.Target.Delete(ctx, k.probe()); err != nil {
		return fmt.Errorf("cannot write to the etcd to move to: %w", err)
	}
	if len(answer.Kvs) > 0 && string(answer.Kvs[0].Value) == nonce {
		return ErrThere
	}
	return nil
}

// prepare refuses a target with data of others, and otherwise has both etcds know of each
// other, so that the next attempt is not refused. It returns the target's name, empty for
// Main.
func (m *Move) prepare(ctx context.Context, k keys) (string, error) {
	if m.Target == m.Main {
		return "", nil
	}
	r, err := readRecord(ctx, m.Main, k)
	if err != nil {
		return "", err
	}
	name, err := nameOf(ctx, m.Target, k)
	if err != nil || slices.Contains(r.Known, name) {
		return name, err
	}
	empty, err := k.empty(ctx, m.Target)
	if err != nil {
		return "", err
	}
	if !empty || name != "" {
		return "", errors.New("the etcd to move to has custom resources of another cluster: give an empty one, or this cluster another --etcd-prefix")
	}
	name = uuid.NewString()
	if err := r.with(name).write(ctx, m.Main, k); err != nil {
		return "", err
	}
	return name, baptize(ctx, m.Target, k, name)
}

// copy brings the target up to the source, above whose revision all of it is written.
func (m *Move) copy(ctx context.Context, c *copier, done *Moved) error {
	revision, err := revisionOf(ctx, c.source)
	if err != nil {
		return err
	}
	raised, err := c.raise(ctx, revision+raiseSlack)
	if done.Raised += raised; err != nil {
		return err
	}
	return c.mirror(ctx, revision)
}

// settle copies until both are the same, with extensions halted.
func (m *Move) settle(ctx context.Context, c *copier, done *Moved) error {
	for range rounds {
		if err := m.copy(ctx, c, done); err != nil {
			return err
		}
		same, all, err := c.compare(ctx)
		if err != nil {
			return err
		}
		if !same {
			continue
		}
		done.Tally = *all
		return c.compact(ctx)
	}
	return errors.New("something goes on writing custom resources: stop the extensions of other hosts, and whatever else serves from that etcd")
}

// fence keeps extensions everywhere from serving as long as this process lives.
type fence struct {
	main    *clientv3.Client
	lease   clientv3.LeaseID
	created clientv3.Cmp
	cancel  context.CancelFunc
}

func (m *Move) fence(ctx context.Context, k keys) (*fence, error) {
	asking, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	lease, err := m.Main.Grant(asking, movingSeconds)
	if err != nil {
		return nil, fmt.Errorf("cannot keep others from serving meanwhile: %w", err)
	}
	put, err := m.Main.Txn(asking).If(clientv3.Compare(clientv3.CreateRevision(k.moving()), "=", 0)).
		Then(clientv3.OpPut(k.moving(), "", clientv3.WithLease(lease.ID))).Commit()
	if err != nil {
		return nil, fmt.Errorf("cannot keep others from serving meanwhile: %w", err)
	}
	if !put.Succeeded {
		return nil, fmt.Errorf("another move is under way, or was within the last %d seconds", movingSeconds)
	}
	f := &fence{main: m.Main, lease: lease.ID, created: clientv3.Compare(clientv3.CreateRevision(k.moving()), "=", put.Header.Revision)}
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	answers, err := m.Main.KeepAlive(alive, lease.ID)
	if err != nil {
		f.drop()
		return nil, fmt.Errorf("cannot keep others from serving meanwhile: %w", err)
	}
	go func() {
		for range answers { // the client warns if nobody reads them
		}
	}()
	return f, nil
}

// drop lets others serve.
func (f *fence) drop() {
	f.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, _ = f.main.Revoke(ctx, f.lease) // else it ends by itself
}

// Unknown tells that it is not known whether a move was completed. Nothing is lost:
// extensions finds out before it serves.
type Unknown struct{ err error }

func (e *Unknown) Error() string {
	return "it is not known whether the move was completed: start the supervisor with one or the other --extensions-etcd-servers, it refuses the wrong ones: " + e.err.Error()
}

func (e *Unknown) Unwrap() error { return e.err }

// commit names the new holder, provided that extensions was kept from serving all the
// time.
func (m *Move) commit(ctx context.Context, k keys, name string, f *fence) error {
	// Whoever gives up now would not know what has become of it.
	ctx = context.WithoutCancel(ctx)
	r, err := readRecord(ctx, m.Main, k)
	if err != nil {
		return err
	}
	r.Holder, r.Fresh = name, false
	failed := r.write(ctx, m.Main, k, f.created)
	if failed == nil {
		return nil
	}
	// A write without an answer may have been done.
	tick := time.NewTicker(awaitPause)
	defer tick.Stop()
	for range commitReads {
		if now, err := readRecord(ctx, m.Main, k); err == nil && now.Holder == name {
			return nil
		} else if err == nil {
			return failed
		}
		<-tick.C
	}
	return &Unknown{failed}
}
