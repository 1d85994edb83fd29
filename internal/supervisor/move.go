package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// MoveExtensions implements control.Supervisor. Extensions is away from when the bulk
// is copied until the rest is, too; all others go on. The same target again is a move
// that was done, of which something may be left to delete.
func (v *Supervisor) MoveExtensions(ctx context.Context, to control.MoveTarget) (control.Move, error) {
	release, err := v.reshaping(ctx)
	if err != nil {
		return control.Move{}, err
	}
	defer release()
	if err := v.noneHeld(tier.Extensions); err != nil {
		return control.Move{}, err
	}
	ctx, cancel := v.untilStopping(ctx)
	defer cancel()
	m, err := v.newMover(to)
	if err != nil {
		return control.Move{}, err
	}
	defer m.close()
	done, err := m.move(ctx)
	if errors.Is(err, custody.ErrThere) && to.DeleteSource {
		// It was moved before, and left where it was.
		m.source, done.Flags, err = m.main, flagsOf(m.own), nil
	}
	if err != nil || !to.DeleteSource {
		return done, err
	}
	done.Deleted, err = m.keeper.DeleteLeftover(ctx, m.source)
	return done, err
}

// untilStopping returns a context that also ends with the work of the chain.
func (v *Supervisor) untilStopping(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_ = v.chain.await(ctx, func(s Snapshot) (bool, error) { return s.Phase == lifecycle.PhaseStopping, nil })
		cancel()
	}()
	return ctx, cancel
}

// mover moves what extensions stores from source to target.
type mover struct {
	v *Supervisor
	// own is the etcd to move to, nil for the main one.
	own                  *wiring.Etcd
	main, source, target *clientv3.Client
	keeper               custody.Keeper
	clients              []*clientv3.Client
	halted               time.Time
}

func (v *Supervisor) newMover(to control.MoveTarget) (m *mover, err error) {
	m = &mover{v: v}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.main, err = m.dial(v.setup.mainEtcd(identity.Supervisor)); err != nil {
		return nil, err
	}
	m.source, m.target = m.main, m.main
	if own := v.setup.own.Load(); own != nil {
		if m.source, err = m.dial(*own); err != nil {
			return nil, err
		}
	}
	if len(to.Servers) > 0 {
		m.own = &wiring.Etcd{Servers: to.Servers, CAFile: to.CAFile, CertFile: to.CertFile, KeyFile: to.KeyFile}
		if m.target, err = m.dial(*m.own); err != nil {
			return nil, err
		}
	}
	m.keeper = custody.Keeper{Main: m.main, Prefix: v.setup.etcdPrefix()}
	if m.source == m.target {
		return nil, errors.New("the custom resources are in the etcd of --etcd-servers already")
	}
	return m, nil
}

func (m *mover) dial(e wiring.Etcd) (*clientv3.Client, error) {
	client, err := custody.Dial(e)
	if err == nil {
		m.clients = append(m.clients, client)
	}
	return client, err
}

func (m *mover) close() {
	for _, client := range m.clients {
		client.Close()
	}
}

// move ends with extensions at work, whatever becomes of the move.
func (m *mover) move(ctx context.Context) (control.Move, error) {
	v := m.v
	if m.own != nil {
		if err := userEtcd("to", *m.own).Reach(ctx); err != nil {
			return control.Move{}, err
		}
	}
	moved, err := (&custody.Move{
		Main: m.main, Source: m.source, Target: m.target, Prefix: m.keeper.Prefix, Halt: m.halt, Say: v.print.Say,
	}).Run(ctx)
	if err == nil {
		v.setup.own.Store(m.own)
		v.print.Say("moved %d keys of extensions: from now on start with %s", moved.Keys, flagsOf(m.own))
	}
	if m.halted.IsZero() {
		return control.Move{}, err
	}
	if resumed := m.resume(context.WithoutCancel(ctx)); resumed != nil {
		return control.Move{}, errors.Join(err, resumed)
	}
	if err != nil {
		return control.Move{}, fmt.Errorf("custom resources are where they were: %w", err)
	}
	return control.Move{
		Keys: moved.Keys, Bytes: moved.Bytes, Raised: moved.Raised, AwaySeconds: time.Since(m.halted).Seconds(), Flags: flagsOf(m.own),
	}, nil
}

func (m *mover) halt(ctx context.Context) error {
	m.halted = time.Now()
	return m.v.chain.Halt(ctx, string(tier.Extensions))
}

// resumeBudget is far above what extensions needs to be ready.
const resumeBudget = 2 * time.Minute

// resume starts extensions on the etcd that is the holder now.
func (m *mover) resume(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, resumeBudget)
	defer cancel()
	s := m.v.setup
	if err := s.writeWiring(); err != nil {
		return err
	}
	var members []*member
	for _, p := range s.sockets.of(tier.Extensions) {
		next, err := s.replica(m.v.row(tier.Extensions), p)
		if err != nil {
			return err
		}
		members = append(members, next)
	}
	if err := m.v.chain.Replace(members); err != nil {
		return err
	}
	for _, next := range members {
		if err := m.v.chain.AwaitReady(ctx, next.replica); err != nil {
			return fmt.Errorf("%s does not become ready: %w", next.replica, err)
		}
	}
	return nil
}

// flagsOf says how the supervisor is to be started with that etcd of extensions.
func flagsOf(own *wiring.Etcd) string {
	if own == nil {
		return "no --extensions-etcd-servers"
	}
	flags := ""
	for _, server := range own.Servers {
		flags += "," + server
	}
	flags = "--extensions-etcd-servers=" + flags[1:]
	for _, file := range [][2]string{{"cafile", own.CAFile}, {"certfile", own.CertFile}, {"keyfile", own.KeyFile}} {
		if file[1] != "" {
			flags += " --extensions-etcd-" + file[0] + "=" + file[1]
		}
	}
	return flags
}
