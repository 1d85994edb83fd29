package supervisor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

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
		if !slices.Contains(v.setup.here, tier.Name(name)) {
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
	return v.scale(ctx, wanted)
}

// scale is for who holds the shape. What it comes to is remembered, so that the status can tell it from what
// the next start has.
func (v *Supervisor) scale(ctx context.Context, wanted map[string]int) error {
	defer func() {
		for name := range wanted {
			v.setup.scaled.Store(tier.Name(name), len(v.setup.sockets.of(tier.Name(name))))
		}
	}()
	for _, name := range v.setup.here {
		n, named := wanted[string(name)]
		if err := v.noneHeld(name); named && err != nil {
			return fmt.Errorf("cannot scale %s: %w", name, err)
		}
		for named && len(v.setup.sockets.of(name)) < n {
			if err := v.grow(ctx, name, 0); err != nil {
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
	for _, of := range v.setup.here {
		for _, p := range v.setup.sockets.of(of) {
			if name != string(of) && name != replica(of, p.index) {
				continue
			}
			found = true
			if err := v.grow(ctx, of, 0); err != nil {
				return fmt.Errorf("cannot restart %s, which goes on: %w", replica(of, p.index), err)
			}
			if err := v.shrink(ctx, of, p); err != nil {
				return fmt.Errorf("cannot restart %s: %w", replica(of, p.index), err)
			}
		}
		if err := v.backToFirst(ctx, of); found && err != nil {
			return fmt.Errorf("%s is restarted, but not where other hosts look for it first: %w", of, err)
		}
	}
	if !found {
		return fmt.Errorf("cannot restart %s: it is not a child of this supervisor", name)
	}
	return nil
}

// backToFirst has a tier that other hosts use be where they were told of: a host that starts
// finds its other replicas by asking the first.
func (v *Supervisor) backToFirst(ctx context.Context, name tier.Name) error {
	if _, listens := v.setup.options.TierListen[name]; !listens || v.setup.sockets.first(name) {
		return nil
	}
	places := v.setup.sockets.of(name)
	if err := v.grow(ctx, name, 0); err != nil {
		return err
	}
	return v.shrink(ctx, name, places[len(places)-1])
}

// reshaping lets one at a time change which replicas there are. To systemd that is a
// reload.
func (v *Supervisor) reshaping(ctx context.Context) (release func(), err error) {
	select {
	case v.shape <- struct{}{}:
		reloaded := v.systemd.Reloading()
		return func() {
			reloaded()
			<-v.shape
		}, nil
	case <-v.chain.done:
		return nil, errStopping
	case <-ctx.Done():
		return nil, fmt.Errorf("another change of replicas is under way: %w", ctx.Err())
	}
}

// grow adds a replica and returns when it is ready and all others know. If it does
// not become ready, within a time unless that is 0, everything is as before.
func (v *Supervisor) grow(ctx context.Context, name tier.Name, within time.Duration) error {
	p, err := v.setup.sockets.add(name)
	if err != nil {
		return err
	}
	// What it is handed has to be there.
	var m *member
	v.wires.Lock()
	err = v.setup.writeWiring()
	v.wires.Unlock()
	if err == nil {
		m, err = v.setup.replica(v.row(name), p)
	}
	if err == nil {
		err = v.welcome(name)
	}
	if err == nil {
		// Told before it runs, the others watch it from its first moment.
		err = v.rewire(ctx, "")
	}
	if err == nil {
		err = v.chain.Join(m)
	}
	if err == nil {
		if err = v.awaitReadyWithin(ctx, m.replica, within); err == nil {
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
	who := replica(name, p.index)
	v.setup.sockets.leave(p)
	if err := v.rewire(ctx, who); err != nil {
		return err
	}
	v.leave(ctx, name, p)
	gone := make(chan error, 1)
	// Whoever asked may not wait for the end, which comes all the same.
	go func() { gone <- v.retire(context.WithoutCancel(ctx), name, p) }()
	select {
	case err := <-gone:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s was told to stop: it takes too long: %w", who, ctx.Err())
	}
}

// retire stops a replica that nobody asks any more, and gives its place back.
func (v *Supervisor) retire(ctx context.Context, name tier.Name, p *place) error {
	who := replica(name, p.index)
	if err := v.chain.Retire(ctx, who); err != nil {
		return err
	}
	v.setup.sockets.remove(name, p)
	v.setup.stale.forget(who)
	v.print.Say("%s: gone", who)
	v.setup.apart.folders[string(name)].Forget(v.setup.dir.Wiring(who))
	return v.setup.dir.RemoveWiring(who)
}

// leaveBudget is more than a process waits for other hosts, and a head for its clients, to
// go to another one.
const leaveBudget = 30 * time.Second

// leave has a replica send its clients to others before it is told to stop.
func (v *Supervisor) leave(ctx context.Context, name tier.Name, p *place) {
	who := replica(name, p.index)
	if now, _ := v.chain.Snapshot(); !now.Children[who].Stage.AtLeast(tier.Prepared) {
		return // it has no clients
	}
	ctx, cancel := context.WithTimeout(ctx, leaveBudget)
	defer cancel()
	if err := handshake.Leave(ctx, p.handshake.address.String(), v.setup.selfTLS(name), false); err != nil {
		v.print.Say("%s: cannot send its clients to others: %v", who, err)
	}
}

// rewire has every running process but one know which replicas there are. One at a time:
// the last to be known is the last that is so.
func (v *Supervisor) rewire(ctx context.Context, but string) error {
	failed, err := v.tell(ctx, but)
	for who, err := range failed {
		v.print.Say("%s: does not know yet which replicas there are: %v", who, err)
	}
	return err
}

// tell is rewire that returns who does not know yet.
func (v *Supervisor) tell(ctx context.Context, but string) (failed map[string]error, err error) {
	v.wires.Lock()
	defer v.wires.Unlock()
	if err := v.setup.writeWiring(); err != nil {
		return nil, err
	}
	v.front.rewire(v.setup)
	now, _ := v.chain.Snapshot()
	var all sync.WaitGroup
	var mu sync.Mutex
	failed = map[string]error{}
	for _, name := range v.setup.here {
		for _, p := range v.setup.sockets.of(name) {
			who := replica(name, p.index)
			if who == but || now.Children[who].PID == 0 {
				continue // its next process reads the file
			}
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, rewireBudget)
				defer cancel()
				if err := handshake.Rewire(ctx, p.handshake.address.String(), v.setup.selfTLS(name)); err != nil {
					mu.Lock()
					defer mu.Unlock()
					failed[who] = err
				}
			})
		}
	}
	all.Wait()
	return failed, nil
}

func (v *Supervisor) row(name tier.Name) row {
	for _, r := range rows(v.setup.embedded(), v.setup.here, v.setup.head) {
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
			Name: name, Address: p.hop.address.String(), Socket: p.local.where(),
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
