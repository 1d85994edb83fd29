package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// stale are the replicas whose processes were started before a change that concerns
// them.
type stale struct {
	mu       sync.Mutex
	replicas map[string]tier.Name
}

func (s *stale) add(replica string, of tier.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replicas == nil {
		s.replicas = map[string]tier.Name{}
	}
	s.replicas[replica] = of
}

func (s *stale) forget(replica string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.replicas, replica)
}

// commands are what replaces all of them.
func (s *stale) commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, name := range slices.Backward(tier.Order) {
		for _, of := range s.replicas {
			if of == name {
				all = append(all, restartOf(name))
				break
			}
		}
	}
	return all
}

func restartOf(name tier.Name) string { return "supervisor restart " + string(name) }

// restartOfAll is what a change takes that reaches everything.
const restartOfAll = "restart the supervisor: systemctl restart triptych, or supervisor stop and run"

// reloadAtSignals reloads whenever a signal comes, to the end of the chain.
func (v *Supervisor) reloadAtSignals(signals <-chan os.Signal) error {
	for {
		select {
		case <-signals:
			// It ends with the chain at the latest.
			if _, err := v.Reload(context.Background(), false); err != nil {
				v.print.Say("cannot reload, everything is as before: %v", err)
			}
		case <-v.chain.done:
			return nil
		}
	}
}

// Reload implements control.Supervisor. With a mistake in the configuration nothing
// changes. What the configuration says of replicas counts if it says something else than
// before: what supervisor scale was told holds otherwise.
func (v *Supervisor) Reload(ctx context.Context, dry bool) (control.Reload, error) {
	if v.reread == nil {
		return control.Reload{}, errors.New("cannot reload: the supervisor does not know its command line")
	}
	release, err := v.reshaping(ctx)
	if err != nil {
		return control.Reload{}, err
	}
	defer release()
	wanted, err := v.reread()
	if err != nil {
		return control.Reload{}, control.RefusedError{Err: err}
	}
	files, err := wanted.Sources()
	if err != nil {
		return control.Reload{}, err
	}
	done := control.Reload{Files: append([]string{}, files...), Changes: []control.Change{}}
	before := v.setup.live.Load()
	changes := before.Changes(wanted)
	if !dry {
		v.print.Say("reload: %d changes", len(changes))
		v.note("reload: %d changes", len(changes))
		v.setup.live.Store(before.Adopt(wanted))
	}
	for _, c := range changes {
		is := v.change(ctx, c, wanted, dry)
		if !dry {
			v.print.Say("reload: %s", lineOf(is))
		}
		done.Changes = append(done.Changes, is)
	}
	if !dry {
		v.takeBack(before, done.Changes)
	}
	done.Waiting = v.waiting(done.Changes)
	return done, nil
}

// change puts one change in force, as far as that goes.
func (v *Supervisor) change(ctx context.Context, c options.Change, wanted *options.Options, dry bool) control.Change {
	is := control.Change{Setting: c.Setting, From: c.From, To: c.To, Outcome: control.Applied}
	var err error
	switch {
	case c.Reach == options.FullRestart:
		is.Outcome, is.Commands = control.NeedsRestart, []string{restartOfAll}
	case c.Reach == options.TierRestart:
		is.Outcome = control.NeedsRestart
		for _, name := range slices.Backward(v.here(c.Tiers)) {
			is.Commands = append(is.Commands, restartOf(name))
			if !dry {
				v.outdate(name)
			}
		}
		if len(is.Commands) == 0 {
			is.Outcome = control.Applied // nobody is concerned
		}
	case dry:
	default:
		err = v.apply(ctx, c, wanted)
	}
	if err != nil {
		is.Outcome, is.Problem = control.Failed, err.Error()
	}
	return is
}

// here are those of the tiers that the supervisor runs.
func (v *Supervisor) here(tiers []tier.Name) []tier.Name {
	return slices.DeleteFunc(slices.Clone(v.setup.here), func(name tier.Name) bool { return !slices.Contains(tiers, name) })
}

// outdate notes that all processes of a tier were started before a change.
func (v *Supervisor) outdate(name tier.Name) {
	for _, p := range v.setup.sockets.of(name) {
		v.setup.stale.add(replica(name, p.index), name)
	}
}

// apply puts a live change in force.
func (v *Supervisor) apply(ctx context.Context, c options.Change, wanted *options.Options) error {
	for _, name := range v.here(c.Tiers) {
		if c.Setting == "replicas."+string(name) {
			return v.scale(ctx, map[string]int{string(name): wanted.Replicas.Of(name)})
		}
		for _, p := range v.setup.sockets.of(name) {
			v.setup.host.Limit(replica(name, p.index), wanted.MemoryLimits[name])
		}
		return v.rewire(ctx, "")
	}
	return nil
}

// takeBack forgets about replicas that could not be had, so that the next reload tries
// again.
func (v *Supervisor) takeBack(before *options.Options, changes []control.Change) {
	failed := func(c control.Change) bool { return c.Outcome == control.Failed }
	if !slices.ContainsFunc(changes, failed) {
		return
	}
	now := *v.setup.live.Load()
	now.Replicas = options.Replicas{}
	for _, name := range tier.Order {
		from := v.setup.live.Load()
		if slices.ContainsFunc(changes, func(c control.Change) bool { return failed(c) && c.Setting == "replicas."+string(name) }) {
			from = before
		}
		if n, given := from.Replicas[name]; given {
			now.Replicas[name] = n
		}
	}
	v.setup.live.Store(now.Adopt(&now))
}

// waiting are the commands that an earlier reload left to be done.
func (v *Supervisor) waiting(changes []control.Change) []string {
	return slices.DeleteFunc(v.setup.stale.commands(), func(command string) bool {
		return slices.ContainsFunc(changes, func(c control.Change) bool { return slices.Contains(c.Commands, command) })
	})
}

func lineOf(c control.Change) string {
	line := fmt.Sprintf("%s: %q, was %q: %s", c.Setting, c.To, c.From, c.Outcome)
	for _, more := range append(c.Commands, c.Problem) {
		if more != "" {
			line += ": " + more
		}
	}
	return line
}
