package supervisor

import (
	"runtime"
	"slices"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/confine"
	"triptych.dev/triptych/internal/tier"
)

// meekTier is the tier that leaves the CPU to the others while many CRDs change: that is work
// for seconds or minutes, and nobody but their authors need wait for it.
const meekTier = tier.Extensions

// confined returns how processes of spec are started, each within what its tier may take.
func (s *setup) confined(name tier.Name, replica string, spec child.Spec) launch {
	return func() (running, error) {
		o, spec := s.live.Load(), spec
		limits := confine.Limits{Yields: name == meekTier, Memory: o.MemoryLimits[name], CPU: o.CPULimits[name], Pids: o.PidsLimits.Of(name)}
		spec.Env = child.WithMemoryLimit(spec.Env, limits.Memory)
		spec.Env = child.WithCPUs(spec.Env, s.cpus(string(name)))
		box := s.host.Box(replica, limits)
		p, err := forked(s.forker, spec, s.connections()...)()
		if err != nil {
			box.Close()
			return nil, err
		}
		return box.Hold(p), nil
	}
}

func (s *setup) cpus(name string) int { return cpus(name, s.here, runtime.GOMAXPROCS(0)) }

// cpus is how many of all CPUs a process called name may run on at once, 0 for as many as it likes. Where the
// tiers that answer run beside them, the head and etcd have half: each request is mostly the work of others, and
// threads that have nothing to do look for it where those could work.
func cpus(name string, here []tier.Name, all int) int {
	passesOn := name == Etcd || name == string(tier.Aggregator)
	if serves := slices.ContainsFunc(here, func(t tier.Name) bool { return t != tier.Aggregator }); passesOn && serves {
		return (all + 1) / 2
	}
	return 0
}

// tellLimits writes into r what holds its process.
func (s *setup) tellLimits(r *control.Replica) {
	if r.PID == 0 {
		return
	}
	now := s.host.InForce(r.Name)
	r.CPU, r.MemoryLimitBytes, r.MemoryLimitBy = now.CPU, now.Memory, now.MemoryBy
	r.PidsLimit, r.CPULimitMillis = now.Pids, now.CPULimit
}
