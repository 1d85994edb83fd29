package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// StopTier implements control.Supervisor. The places stay, and what is sent there is answered as if the processes
// had crashed; nobody is sent to a replica before it stops while another is there. Of a head without any process the
// secure port refuses connections.
func (v *Supervisor) StopTier(ctx context.Context, name string) ([]control.Standing, error) {
	release, err := v.reshaping(ctx)
	if err != nil {
		return nil, err
	}
	of, places, err := v.named("stop", name)
	if err != nil {
		release()
		return nil, err
	}
	done := make(chan error, 1)
	var all []control.Standing
	// Whoever asked may not wait for the end, which comes all the same.
	go func() {
		defer release()
		var err error
		all, err = v.hold(context.WithoutCancel(ctx), name, of, places)
		done <- err
	}()
	select {
	case err := <-done:
		return all, err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s was told to stop: it takes too long: %w", name, ctx.Err())
	}
}

func (v *Supervisor) hold(ctx context.Context, name string, of tier.Name, places []*place) ([]control.Standing, error) {
	before, _ := v.chain.Snapshot()
	names := replicas(of, places)
	if !slices.ContainsFunc(names, func(who string) bool { return before.Children[who].State != lifecycle.Held }) {
		return standings(before, before, names), nil
	}
	v.note("stop %s", name)
	v.print.Say("stop %s: asked for by operator", name)
	if _, listens := v.setup.options.TierListen[of]; listens || len(v.setup.sockets.of(of)) > len(places) {
		for _, p := range places {
			v.setup.sockets.leave(p)
			defer v.setup.sockets.stay(p)
		}
		if err := v.rewire(ctx, ""); err != nil {
			return nil, err
		}
		for _, p := range places {
			v.leave(ctx, of, p)
		}
	}
	if err := v.chain.Hold(ctx, names); err != nil {
		return nil, fmt.Errorf("cannot stop %s: %w", name, err)
	}
	now, _ := v.chain.Snapshot()
	if of == v.setup.head && now.allHeld(string(of)) {
		if err := v.setup.sockets.public.refuse(); err != nil {
			return nil, err
		}
	}
	return standings(before, now, names), nil
}

// StartTier implements control.Supervisor.
func (v *Supervisor) StartTier(ctx context.Context, name string) ([]control.Standing, error) {
	release, err := v.reshaping(ctx)
	if err != nil {
		return nil, err
	}
	of, places, err := v.named("start", name)
	if err != nil {
		release()
		return nil, err
	}
	names := replicas(of, places)
	before, _ := v.chain.Snapshot()
	lives, err := v.resume(name, of, names)
	if err == nil && len(lives) > 0 {
		err = v.rewire(ctx, "")
	}
	// It may wait for a tier that has to be started, too.
	release()
	if err == nil {
		err = v.chain.await(ctx, func(s Snapshot) (bool, error) { return v.started(s, lives) })
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	now, _ := v.chain.Snapshot()
	return standings(before, now, names), nil
}

// resume starts those that are held, and returns which life of each is to be ready.
func (v *Supervisor) resume(name string, of tier.Name, names []string) (lives map[string]int, err error) {
	now, _ := v.chain.Snapshot()
	if !slices.ContainsFunc(names, func(who string) bool { return now.Children[who].State == lifecycle.Held }) {
		return nil, nil
	}
	v.note("start %s", name)
	v.print.Say("start %s: asked for by operator", name)
	if err := v.welcome(of); err != nil {
		return nil, err
	}
	return v.chain.Resume(names)
}

// welcome has the secure port accept connections again if processes of its tier are about to come.
func (v *Supervisor) welcome(of tier.Name) error {
	now, _ := v.chain.Snapshot()
	if of != v.setup.head || !now.allHeld(string(of)) {
		return nil
	}
	return v.setup.sockets.public.accept()
}

// started tells whether all are ready in the given life or a later one. Waiting for what an operator keeps away is
// waiting without end.
func (v *Supervisor) started(s Snapshot, lives map[string]int) (bool, error) {
	ready := true
	for _, who := range s.Names {
		life, named := lives[who]
		is := s.Children[who]
		switch {
		case !named:
		case s.Phase == lifecycle.PhaseStopping:
			return false, errStopping
		case is.State == lifecycle.Held:
			return false, fmt.Errorf("%s was stopped again", who)
		case is.State == lifecycle.Backoff, is.State.Over(), is.Restarts > life:
			return false, fmt.Errorf("%s: %s", who, is.LastExit)
		case is.State != lifecycle.Ready && is.Tier != string(tier.Core) && s.allHeld(string(tier.Core)) && len(v.setup.elsewhere.Status(tier.Core)) == 0:
			return false, fmt.Errorf("it runs, and waits for core, which is stopped by operator: supervisor start core")
		case is.State != lifecycle.Ready:
			ready = false
		}
	}
	return ready, nil
}

// named are the places here that a tier or a replica means.
func (v *Supervisor) named(verb, name string) (tier.Name, []*place, error) {
	if name == Etcd {
		return "", nil, control.RefusedError{Err: fmt.Errorf(
			"cannot %s etcd by itself: no tier does anything without it: supervisor restart etcd replaces its process, supervisor stop stops everything", verb)}
	}
	for _, of := range v.setup.here {
		places := v.setup.sockets.of(of)
		if name == string(of) && len(places) > 0 {
			return of, places, nil
		}
		for _, p := range places {
			if replica(of, p.index) == name {
				return of, []*place{p}, nil
			}
		}
	}
	return "", nil, control.RefusedError{Err: fmt.Errorf("cannot %s %s: it is no tier and no replica of this supervisor: see supervisor status", verb, name)}
}

// noneHeld returns an error that names a command if a process of the given tiers is stopped by operator: what is about to
// be done would start it, or count on it.
func (v *Supervisor) noneHeld(tiers ...tier.Name) error {
	now, _ := v.chain.Snapshot()
	for _, name := range tiers {
		if why := now.heldLines(string(name)); len(why) > 0 {
			return control.RefusedError{Err: errors.New(why[0])}
		}
	}
	return nil
}

func replicas(of tier.Name, places []*place) []string {
	var names []string
	for _, p := range places {
		names = append(names, replica(of, p.index))
	}
	return names
}

func standings(before, now Snapshot, names []string) []control.Standing {
	all := []control.Standing{}
	for _, who := range names {
		was, is := before.Children[who], now.Children[who]
		all = append(all, control.Standing{
			Name: who, PID: is.PID, Stage: stageOf(is.View), Changed: (was.State == lifecycle.Held) != (is.State == lifecycle.Held),
		})
	}
	return all
}

// allHeld tells whether all replicas of the tier are stopped by operator.
func (s Snapshot) allHeld(tier string) bool {
	all := s.Of(tier)
	return len(all) > 0 && !slices.ContainsFunc(all, func(is Child) bool { return is.State != lifecycle.Held })
}

// heldLines say what of the tier is stopped by operator, and what starts it.
func (s Snapshot) heldLines(of string) []string {
	line := func(who string) string {
		return fmt.Sprintf("%s is stopped by operator: supervisor start %[1]s brings it back", who)
	}
	if s.allHeld(of) {
		return []string{line(of)}
	}
	var all []string
	for _, who := range s.Names {
		if is := s.Children[who]; is.Tier == of && is.State == lifecycle.Held {
			all = append(all, line(who))
		}
	}
	return all
}

// Hold stops the named members until Resume, and returns when their processes are gone.
func (c *chain) Hold(ctx context.Context, names []string) error {
	err := c.ask(func() error {
		if c.haste != atWork {
			return errStopping
		}
		for _, name := range names {
			if m := c.member(name); m != nil {
				do, _ := m.machine.Hold()
				c.do(m, do)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.await(ctx, func(s Snapshot) (bool, error) {
		if s.Phase == lifecycle.PhaseStopping {
			return false, errStopping
		}
		return !slices.ContainsFunc(names, func(name string) bool {
			is := s.Children[name].State
			return is != lifecycle.Held && !is.Over()
		}), nil
	})
}

// Resume starts those of the named members that are held, and returns which life of theirs that is, as
// lifecycle.View.Restarts counts.
func (c *chain) Resume(names []string) (map[string]int, error) {
	lives := map[string]int{}
	return lives, c.ask(func() error {
		if c.haste != atWork {
			return errStopping
		}
		for _, name := range names {
			m := c.member(name)
			if m == nil {
				continue
			}
			do, changed := m.machine.Resume(time.Now())
			if !changed {
				continue
			}
			life := m.machine.View().Restarts
			if m.machine.View().State != lifecycle.Starting {
				life++ // the process that is stopping is still the old one
			}
			lives[name] = life
			c.do(m, do)
		}
		return nil
	})
}

// reasons say why the phase is not Ready though nothing is broken.
func (v *Supervisor) reasons(now Snapshot) (all []string) {
	for _, name := range slices.Backward(tier.UpTo(v.setup.head)) {
		all = append(all, now.heldLines(string(name))...)
	}
	return all
}

// refuseTier says which command is meant by a drain of a whole tier.
func (v *Supervisor) refuseTier(name string) error {
	if !slices.Contains(v.setup.here, tier.Name(name)) {
		return nil
	}
	return control.RefusedError{Err: errors.New(strings.ReplaceAll(
		"cannot drain TIER: drain takes one replica of several out for good; supervisor stop TIER stops all of them, gracefully, until supervisor start TIER", "TIER", name))}
}
