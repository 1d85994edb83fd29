package supervisor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// rewireBudget bounds how long a process may take to know of other replicas. One
// that does not answer learns from the handshake who is there.
const rewireBudget = 10 * time.Second

// Scale implements control.Supervisor. Nothing is cut off: a new replica is asked
// once it is ready, and one that goes has answered everything before.
func (v *Supervisor) Scale(ctx context.Context, wanted map[string]int) error {
	for name, n := range wanted {
		if !slices.Contains(tier.UpTo(v.setup.head), tier.Name(name)) {
			return fmt.Errorf("cannot scale %s: it is no tier of this supervisor", name)
		}
		if n < 1 || n > options.MaxReplicas {
			return fmt.Errorf("cannot scale %s to %d: want 1 to %d", name, n, options.MaxReplicas)
		}
	}
	release, err := v.reshaping(ctx)
	if err != nil {
		return err
	}
	defer release()
	for _, name := range tier.UpTo(v.setup.head) {
		n, named := wanted[string(name)]
		for named && len(v.setup.sockets.of(name)) < n {
			if err := v.grow(ctx, name); err != nil {
				return fmt.Errorf("cannot scale %s to %d: %w", name, n, err)
			}
		}
		for named && len(v.setup.sockets.of(name)) > n {
			places := v.setup.sockets.of(name)
			if err := v.shrink(ctx, name, places[len(places)-1]); err != nil {
				return fmt.Errorf("cannot scale %s to %d: %w", name, n, err)
			}
		}
	}
	return nil
}

// Restart implements control.Supervisor. A tier is restarted replica by replica, each
// when another one has taken its place.
func (v *Supervisor) Restart(ctx context.Context, name string) error {
	if name == Etcd {
		return v.chain.Restart(ctx, name)
	}
	release, err := v.reshaping(ctx)
	if err != nil {
		return err
	}
	defer release()
	found := false
	for _, of := range tier.UpTo(v.setup.head) {
		for _, p := range v.setup.sockets.of(of) {
			if name != string(of) && name != replica(of, p.index) {
				continue
			}
			found = true
			if err := v.grow(ctx, of); err != nil {
				return fmt.Errorf("cannot restart %s, which goes on: %w", replica(of, p.index), err)
			}
			if err := v.shrink(ctx, of, p); err != nil {
				return fmt.Errorf("cannot restart %s: %w", replica(of, p.index), err)
			}
		}
	}
	if !found {
		return fmt.Errorf("cannot restart %s: it is not a child of this supervisor", name)
	}
	return nil
}

// reshaping lets one at a time change which replicas there are.
func (v *Supervisor) reshaping(ctx context.Context) (release func(), err error) {
	select {
	case v.shape <- struct{}{}:
		return func() { <-v.shape }, nil
	case <-v.chain.done:
		return nil, errStopping
	case <-ctx.Done():
		return nil, fmt.Errorf("another change of replicas is under way: %w", ctx.Err())
	}
}

// grow adds a replica and returns when it is ready and all others know. If it does
// not become ready everything is as before.
func (v *Supervisor) grow(ctx context.Context, name tier.Name) error {
	p, err := v.setup.sockets.add(name)
	if err != nil {
		return err
	}
	m, err := v.setup.replica(v.row(name), p)
	if err == nil {
		// Told before it runs, the others watch it from its first moment.
		err = v.rewire(ctx, "")
	}
	if err == nil {
		err = v.chain.Join(m)
	}
	if err == nil {
		if err = v.chain.AwaitReady(ctx, m.replica); err == nil {
			return nil
		}
		err = fmt.Errorf("%s did not become ready: %w", m.replica, err)
	}
	undo := context.WithoutCancel(ctx)
	if err := v.shrink(undo, name, p); err != nil {
		v.print.Say("%s: cannot be taken back: %v", replica(name, p.index), err)
	}
	return err
}

// shrink takes a replica out: the others send it nothing any more, it answers what it
// has, and stops.
func (v *Supervisor) shrink(ctx context.Context, name tier.Name, p *place) error {
	gone := replica(name, p.index)
	v.setup.sockets.remove(name, p)
	defer p.close()
	if err := v.rewire(ctx, gone); err != nil {
		return err
	}
	v.leave(ctx, name, p)
	if err := v.chain.Retire(ctx, gone); err != nil {
		return fmt.Errorf("%s was told to stop: %w", gone, err)
	}
	v.print.Say("%s: gone", gone)
	return v.setup.dir.RemoveWiring(gone)
}

// leaveBudget is more than a head waits for its clients to go to another one.
const leaveBudget = 15 * time.Second

// leave has a replica send its clients to others before it is told to stop.
func (v *Supervisor) leave(ctx context.Context, name tier.Name, p *place) {
	who := replica(name, p.index)
	if now, _ := v.chain.Snapshot(); !now.Children[who].Stage.AtLeast(tier.Prepared) {
		return // it has no clients
	}
	ctx, cancel := context.WithTimeout(ctx, leaveBudget)
	defer cancel()
	cfg, err := v.setup.selfTLS(name)
	if err == nil {
		err = handshake.Leave(ctx, p.handshake.address.String(), cfg)
	}
	if err != nil {
		v.print.Say("%s: cannot send its clients to others: %v", who, err)
	}
}

// rewire has every running process but one know which replicas there are.
func (v *Supervisor) rewire(ctx context.Context, but string) error {
	if err := v.setup.writeWiring(); err != nil {
		return err
	}
	v.front.rewire(v.setup)
	now, _ := v.chain.Snapshot()
	var group errgroup.Group
	for _, name := range tier.UpTo(v.setup.head) {
		cfg, err := v.setup.selfTLS(name)
		if err != nil {
			return err
		}
		for _, p := range v.setup.sockets.of(name) {
			who := replica(name, p.index)
			if who == but || now.Children[who].PID == 0 {
				continue // its next process reads the file
			}
			group.Go(func() error {
				ctx, cancel := context.WithTimeout(ctx, rewireBudget)
				defer cancel()
				if err := handshake.Rewire(ctx, p.handshake.address.String(), cfg); err != nil {
					v.print.Say("%s: does not know yet which replicas there are: %v", who, err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

func (v *Supervisor) row(name tier.Name) row {
	for _, r := range rows(v.setup.embedded(), v.setup.head) {
		if r.name == string(name) {
			return r
		}
	}
	panic("no row of " + name)
}

// heads are the replicas of the head as the insecure port wants to know them.
func (s *setup) heads(c *chain) []hop.Replica {
	var all []hop.Replica
	for _, p := range s.sockets.of(s.head) {
		name := replica(s.head, p.index)
		all = append(all, hop.Replica{
			Name: name, Address: p.hop.address.String(),
			Available: func() error { return c.available(name) },
			Ready: func() bool {
				now, _ := c.Snapshot()
				is := now.Children[name]
				return is.State == lifecycle.Ready && !is.Retiring
			},
		})
	}
	return all
}
