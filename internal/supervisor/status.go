package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// Status implements control.Supervisor.
func (v *Supervisor) Status(ctx context.Context) control.Status {
	now, _ := v.chain.Snapshot()
	s := control.Status{
		Phase:       string(now.Phase),
		SecureURL:   v.setup.url,
		InsecureURL: v.front.shownURL(now),
		Reasons:     v.reasons(now),
		Etcd:        control.Etcd{PID: now.Children[Etcd].PID, Embedded: v.setup.embedded()},
	}
	s.Isolation = control.Isolation{Users: v.setup.apart.ids != nil, Sandbox: string(v.setup.options.Sandbox), Missing: v.setup.lacks()}
	s.Upgrade, s.Snapshots = v.upgradeStatus(), v.snapshotStatus()
	s.Certificates = v.certificatesStatus()
	if own := v.setup.own.Load(); own != nil {
		s.Etcd.Extensions = own.Servers
	}
	if size := now.Children[Etcd].Full; size != "" {
		s.Etcd.Problem = fullLine(size)
	}
	for _, name := range slices.Backward(tier.UpTo(v.setup.head)) {
		s.Tiers = append(s.Tiers, v.tierStatus(ctx, name, now))
	}
	return s
}

// tierStatus lists the replicas of a tier, those that are about to go last.
func (v *Supervisor) tierStatus(ctx context.Context, name tier.Name, now Snapshot) control.Tier {
	t, stay := control.Tier{Name: string(name), Scaled: v.scaledStatus(name)}, map[string]bool{}
	for _, p := range v.setup.sockets.of(name) {
		at := p.endpoint(name)
		stay[at.Replica] = true
		r := replicaStatus(now.Children[at.Replica])
		r.Name, r.Address = at.Replica, at.Hop
		v.setup.tellLimits(&r)
		if name == tier.Core {
			r.Tunnels = v.setup.tunnels(ctx, now.Children[at.Replica].View, at.Handshake)
		}
		t.Replicas = append(t.Replicas, r)
	}
	for _, other := range now.Names {
		if is := now.Children[other]; is.Tier == t.Name && !stay[other] {
			r := replicaStatus(is)
			r.Name = other
			v.setup.tellLimits(&r)
			t.Replicas = append(t.Replicas, r)
		}
	}
	t.Replicas = append(t.Replicas, v.remoteStatus(name, now)...)
	return t
}

// scaledStatus tells what a tier was scaled to if the next start does not know of it.
func (v *Supervisor) scaledStatus(name tier.Name) *control.Scaled {
	to, ok := v.setup.scaled.Load(name)
	configured := v.setup.live.Load().Replicas.Of(name)
	if !ok || to == configured {
		return nil
	}
	return &control.Scaled{To: to.(int), Configured: configured}
}

func replicaStatus(v Child) control.Replica {
	r := control.Replica{
		PID: v.PID, Stage: stageOf(v.View), Restarts: v.Restarts, RSSBytes: rss(v.PID), LastExit: exitStatus(v.LastExit),
		Version: v.Description.GetVersion(), BinDir: v.Release.dir, Emulates: v.Release.emulate,
	}
	if !v.Started.IsZero() {
		started := v.Started.UTC()
		r.StartedAt = &started
	}
	return r
}

// stageOf is the stage, or in its absence the state.
func stageOf(v lifecycle.View) string {
	switch {
	case v.Stage != "":
		return string(v.Stage)
	case v.State == lifecycle.Idle:
		return string(lifecycle.Stopped)
	}
	return string(v.State)
}

func exitStatus(e *lifecycle.Exit) *control.Exit {
	if e == nil {
		return nil
	}
	s := &control.Exit{Code: e.Code, Time: e.Time.UTC(), Reason: e.Reason}
	if e.Signal != 0 {
		s.Signal = signalName(e.Signal)
	}
	return s
}

func signalName(s syscall.Signal) string { return unix.SignalName(s) }

// rss returns the resident memory of a process in bytes, 0 if it is gone.
func rss(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}
