package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// upgrades is what is known of the upgrade that runs, beside what is remembered.
type upgrades struct {
	mu      sync.Mutex
	running *upgrade // nil if none
	step    string
	problem string
}

// upgrade is one that runs. It goes on when who asked for it does not wait.
type upgrade struct {
	v      *Supervisor
	asked  control.UpgradeRequest
	cancel context.CancelCauseFunc

	done   chan struct{}
	result control.Upgraded // after done
	err    error
}

// errRollback ends an upgrade whose user wants to go back.
var errRollback = errors.New("supervisor upgrade --rollback was called")

// Upgrade implements control.Supervisor.
func (v *Supervisor) Upgrade(ctx context.Context, r control.UpgradeRequest) (control.Upgraded, error) {
	if r.Action == control.UpgradeCheck {
		c, now, err := v.judge(ctx, r.BinDir)
		if err != nil {
			return control.Upgraded{}, control.RefusedError{Err: err}
		}
		return control.Upgraded{Lines: []string{fmt.Sprintf("the tiers, which are Kubernetes %s, can be upgraded to %s", now, told(c.Versions))}}, nil
	}
	if running := v.upgrades.now(); running != nil {
		if r.Action != control.UpgradeRollback {
			return control.Upgraded{}, control.RefusedError{Err: errors.New("an upgrade is under way: supervisor status shows how it stands")}
		}
		return running.interrupt(ctx)
	}
	u, err := v.beginUpgrade(ctx, r)
	if err != nil {
		return control.Upgraded{}, err
	}
	select {
	case <-u.done:
		return u.result, u.err
	case <-ctx.Done():
		return control.Upgraded{}, ctx.Err()
	}
}

// beginUpgrade has r done, aside and alone.
func (v *Supervisor) beginUpgrade(ctx context.Context, r control.UpgradeRequest) (*upgrade, error) {
	release, err := v.reshaping(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.noneHeld(v.setup.here...); err != nil && r.Action != control.UpgradeRollback {
		release()
		return nil, err
	}
	u := &upgrade{v: v, asked: r, done: make(chan struct{})}
	work, stop := v.untilStopping(context.WithoutCancel(ctx))
	work, u.cancel = context.WithCancelCause(work)
	v.upgrades.set(u)
	go func() {
		defer stop()
		u.result, u.err = u.do(work)
		if u.err != nil {
			v.print.Say("upgrade: %v", u.err)
		}
		for _, line := range u.result.Lines {
			v.print.Say("upgrade: %s", line)
		}
		u.cancel(nil)
		v.upgrades.end(u.err)
		release()
		close(u.done)
	}()
	return u, nil
}

func (u *upgrade) do(ctx context.Context) (control.Upgraded, error) {
	switch u.asked.Action {
	case control.UpgradeBegin:
		return u.begin(ctx)
	case control.UpgradeContinue:
		return u.goOn(ctx)
	case control.UpgradeRollback:
		return u.rollback(ctx)
	}
	return control.Upgraded{}, fmt.Errorf("%q is nothing that can be done", u.asked.Action)
}

// interrupt has an upgrade that runs go back, if it still can.
func (u *upgrade) interrupt(ctx context.Context) (control.Upgraded, error) {
	if !u.v.setup.memory.Load().back() {
		return control.Upgraded{}, control.RefusedError{Err: errTooLate}
	}
	u.cancel(errRollback)
	select {
	case <-u.done:
	case <-ctx.Done():
		return control.Upgraded{}, ctx.Err()
	}
	if m := u.v.setup.memory.Load(); m != nil && m.Lifted { // it was, while we asked
		return control.Upgraded{}, control.RefusedError{Err: errTooLate}
	}
	if errors.Is(u.err, errRollback) && errors.As(u.err, &control.RolledBackError{}) {
		return control.Upgraded{Lines: []string{fmt.Sprintf("all tiers run the programs of %s again", u.v.setup.releases[u.v.setup.head].dir)}}, nil
	}
	if u.err == nil {
		return control.Upgraded{}, control.RefusedError{Err: errTooLate}
	}
	return control.Upgraded{}, u.err
}

var errTooLate = errors.New("cannot roll back: the new programs do not emulate the old minor any more, so objects may be stored in versions that the old programs do not read")

// judge tells whether the tiers can be brought to the programs of dir, and which minor
// of Kubernetes they are. Nothing is touched.
func (v *Supervisor) judge(ctx context.Context, dir string) (*candidate, *version.Version, error) {
	dir, err := binDir(dir, v.setup.executable)
	if err != nil {
		return nil, nil, err
	}
	snapshot, _ := v.chain.Snapshot()
	switch m := v.setup.memory.Load(); {
	case snapshot.Phase == lifecycle.PhaseStarting:
		return nil, nil, errors.New("not everything has been ready yet: wait until supervisor status says Ready")
	case snapshot.Phase == lifecycle.PhaseStopping:
		return nil, nil, errStopping
	case m != nil && m.State == upgradeHeld && dir != m.To:
		return nil, nil, fmt.Errorf("the upgrade to %s is held: end it by supervisor upgrade --continue or --rollback", m.To)
	case m != nil && m.State == upgradeRollingBack:
		return nil, nil, fmt.Errorf("the tiers are half way back to %s: end that by supervisor upgrade --rollback", m.From)
	}
	c, err := v.setup.examine(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	now, err := snapshot.minor()
	if err == nil {
		err = c.fits(now)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, is := range snapshot.Children {
		if is.Tier != Etcd && is.Release.dir == dir && (v.setup.memory.Load() == nil || v.setup.memory.Load().State != upgradeHeld) {
			return nil, nil, fmt.Errorf("%s is where the programs are that run: install the new ones in a folder of their own, so that there is a way back; supervisor restart starts the same ones again", dir)
		}
	}
	return c, now, nil
}

// minor is the newest minor of Kubernetes that a process of a tier is.
func (s Snapshot) minor() (newest *version.Version, err error) {
	for _, is := range s.Children {
		if is.Description == nil {
			continue
		}
		v, err := minorOf(is.Description.GetVersion())
		if err != nil {
			return nil, fmt.Errorf("%s says that it is Kubernetes %q, which is no version", is.Tier, is.Description.GetVersion())
		}
		if newest == nil || newest.LessThan(v) {
			newest = v
		}
	}
	if newest == nil {
		return nil, errors.New("no tier answers")
	}
	return newest, nil
}

// kubernetes is what /version calls gitVersion, of some process.
func (s Snapshot) kubernetes() string {
	for _, name := range s.Names {
		if d := s.Children[name].Description; d != nil {
			return d.GetVersion()
		}
	}
	return ""
}

// outwards is the order in which processes become new. Who asks others for the API,
// as clients do, comes after who answers: extensions and the head keep caches of what
// core serves, and the head asks both.
func outwards(here []tier.Name) []tier.Name {
	order := []tier.Name{tier.Core, tier.Extensions, tier.Aggregator}
	return slices.DeleteFunc(order, func(name tier.Name) bool { return !slices.Contains(here, name) })
}

func (u *upgrade) begin(ctx context.Context) (control.Upgraded, error) {
	v, s := u.v, u.v.setup
	c, now, err := v.judge(ctx, u.asked.BinDir)
	if err != nil {
		return control.Upgraded{}, control.RefusedError{Err: err}
	}
	before := s.memory.Load()
	if before != nil && before.State == upgradeHeld {
		return u.goOn(ctx)
	}
	snapshot, _ := v.chain.Snapshot()
	from := s.releases[s.here[0]]
	m := memory{
		State: upgradeReplacing, Given: from.dir, From: from.dir, To: c.dir,
		FromKubernetes: snapshot.kubernetes(), ToKubernetes: c.Kubernetes, Version: c.Version,
	}
	if before != nil {
		m.Given = before.Given
	}
	// Who says which minor is to be emulated has it so before, meanwhile and after.
	if now.LessThan(c.minor) && !s.options.Forwarded.Given(options.EmulatedVersion) {
		m.Emulate = now.String()
	}
	if err := s.remember(&m); err != nil {
		return control.Upgraded{}, control.RefusedError{Err: err}
	}
	v.print.Say("upgrade: to %s of %s", told(c.Versions), c.dir)
	if err := u.pass(ctx, release{dir: m.To, emulate: m.Emulate}); err != nil {
		return control.Upgraded{}, u.back(ctx, err, before)
	}
	m.State = upgradeDone
	if m.Emulate != "" {
		m.State = upgradeHeld
	}
	if err := s.remember(&m); err != nil {
		return control.Upgraded{}, err
	}
	if m.State == upgradeDone || u.asked.Hold {
		return u.report(), nil
	}
	return u.goOn(ctx)
}

// goOn takes the last step: processes that do not emulate.
func (u *upgrade) goOn(ctx context.Context) (control.Upgraded, error) {
	s := u.v.setup
	m := s.memory.Load()
	if m == nil || m.State != upgradeHeld {
		return control.Upgraded{}, control.RefusedError{Err: errors.New("no upgrade is held")}
	}
	next := *m
	next.State, next.Lifted = upgradeLifting, true
	// A rollback that came until here is heard; from here on it is too late.
	if cause := context.Cause(ctx); cause != nil {
		return control.Upgraded{}, u.back(ctx, cause, nil)
	}
	if err := s.remember(&next); err != nil {
		return control.Upgraded{}, err
	}
	emulating := release{dir: m.To, emulate: m.Emulate}
	if err := u.pass(ctx, release{dir: m.To}); err != nil {
		if u.v.stopping() {
			return control.Upgraded{}, errStopping
		}
		now, _ := u.v.chain.Snapshot()
		undone := next
		undone.State = upgradeHeld
		back, cancel := u.v.untilStopping(context.WithoutCancel(ctx))
		defer cancel()
		if undo := errors.Join(u.v.converge(back, now.sickFirst(inwards(s.here)), emulating, u.backWithin()), s.remember(&undone)); undo != nil {
			return control.Upgraded{}, fmt.Errorf("%w; and the tiers cannot go back to emulating Kubernetes %s: %w: call supervisor upgrade --continue", err, m.Emulate, undo)
		}
		return control.Upgraded{}, control.RolledBackError{Err: fmt.Errorf(
			"the new programs do not work without emulating Kubernetes %s, so they go on doing so: %w: try again by supervisor upgrade --continue", m.Emulate, err)}
	}
	next.State, next.Emulate = upgradeDone, ""
	if err := s.remember(&next); err != nil {
		return control.Upgraded{}, err
	}
	return u.report(), nil
}

// rollback brings the tiers back to the old programs.
func (u *upgrade) rollback(ctx context.Context) (control.Upgraded, error) {
	s := u.v.setup
	m := s.memory.Load()
	switch {
	case m == nil || m.From == "":
		return control.Upgraded{}, control.RefusedError{Err: errors.New("cannot roll back: there was no upgrade, or it was rolled back")}
	case m.Lifted:
		return control.Upgraded{}, control.RefusedError{Err: errTooLate}
	}
	c, err := s.examine(ctx, m.From)
	if err != nil {
		return control.Upgraded{}, control.RefusedError{Err: fmt.Errorf("cannot roll back: %w", err)}
	}
	if c.Kubernetes != m.FromKubernetes {
		return control.Upgraded{}, control.RefusedError{Err: fmt.Errorf(
			"cannot roll back: the programs of %s are Kubernetes %s now, and were %s", m.From, c.Kubernetes, m.FromKubernetes)}
	}
	if err := u.restore(ctx, m, m.rolledBack()); err != nil {
		return control.Upgraded{}, err
	}
	return control.Upgraded{Lines: []string{fmt.Sprintf("all tiers run the programs of %s again", m.From)}}, nil
}

// back undoes an upgrade that failed for why. after is what is to be remembered then.
func (u *upgrade) back(ctx context.Context, why error, after *memory) error {
	if u.v.stopping() {
		return errStopping // the next supervisor starts the old programs
	}
	m := u.v.setup.memory.Load()
	u.v.print.Say("upgrade: going back to the programs of %s: %v", m.From, why)
	if after == nil {
		after = m.rolledBack()
	}
	if err := u.restore(context.WithoutCancel(ctx), m, after); err != nil {
		return fmt.Errorf("the upgrade failed: %w; %w", why, err)
	}
	return control.RolledBackError{Err: fmt.Errorf("the upgrade was rolled back, and all tiers run the programs of %s: %w", m.From, why)}
}

// patience is how long a process at least may take to become ready when an upgrade has failed and
// all goes back: a bound that was for the new programs would leave a mixture of both.
const patience = 3 * time.Minute

// backWithin is how long each process may take on the way back.
func (u *upgrade) backWithin() time.Duration {
	if u.asked.Action == control.UpgradeRollback {
		return u.asked.ReadyWithin
	}
	return max(u.asked.ReadyWithin, patience)
}

// restore has all processes be of the old programs.
func (u *upgrade) restore(ctx context.Context, m, after *memory) error {
	s := u.v.setup
	going := *m
	going.State = upgradeRollingBack
	ctx, cancel := u.v.untilStopping(ctx)
	defer cancel()
	err := s.remember(&going)
	if err == nil {
		now, _ := u.v.chain.Snapshot()
		err = u.v.converge(ctx, now.sickFirst(inwards(s.here)), release{dir: m.From}, u.backWithin())
	}
	if err == nil {
		err = s.remember(after)
	}
	if err != nil {
		return fmt.Errorf("cannot go back to the programs of %s: %w: call supervisor upgrade --rollback again", m.From, err)
	}
	return nil
}

// report says what there is to know at the end.
func (u *upgrade) report() control.Upgraded {
	s := u.v.setup
	m := s.memory.Load()
	data := " --data-dir " + s.dir.Root
	lines := []string{fmt.Sprintf("all tiers run %s, Kubernetes %s, of %s", m.Version, m.ToKubernetes, m.To)}
	switch {
	case m.State == upgradeHeld:
		lines = append(lines,
			fmt.Sprintf("they emulate Kubernetes %s, so nothing is stored that the programs of %s do not read", m.Emulate, m.From),
			"the way back, as long as that is so: supervisor upgrade --rollback"+data,
			"the last step: supervisor upgrade --continue"+data)
	case m.Lifted:
		lines = append(lines, fmt.Sprintf("there is no way back to %s: objects may be stored in versions that its programs do not read", m.From))
	case m.back():
		lines = append(lines, "the way back, until the next upgrade: supervisor upgrade --rollback"+data)
	}
	also := "itself"
	if s.embedded() {
		also = "itself, and with it etcd,"
	}
	return control.Upgraded{Lines: append(lines, fmt.Sprintf(
		"the supervisor %s is still %s until it is started again: supervisor stop%s, then %s run%s and the flags of before",
		also, s.executable, data, filepath.Join(m.To, self), data))}
}
