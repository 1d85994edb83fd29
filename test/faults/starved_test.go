package faults

import (
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// Processes that stand still, have no CPU, no descriptors or no memory answer later or
// not, and nothing else; with all given back they are as before.
func TestStarvedUnderLoad(t *testing.T) {
	t.Parallel()
	// The limits of a process of another user are not ours to change everywhere.
	p := openPlane(t, harness.Options{Args: []string{"--memory-limit=extensions=400Mi", "--user-range=off"}})
	const budget = 30 * time.Second
	names, tiers, pauses := processes, processes[:3], []time.Duration{5 * time.Second}
	if *long {
		pauses = append(pauses, time.Minute)
	} else {
		names = []string{processes[p.Chance.IntN(len(processes))]}
		tiers = []string{tiers[p.Chance.IntN(len(tiers))]}
	}
	for range often(1, 5) {
		for _, name := range names {
			for _, d := range pauses {
				p.Play(t, Fault{Name: "SIGSTOP " + name + " for " + d.String(), Budget: budget, Break: func(t *testing.T) { p.pause(t, name, d) }})
			}
		}
		p.Play(t, Fault{Name: "etcd stands still for 250 of 300 ms", Budget: budget, Break: func(t *testing.T) {
			p.stutter(t, "etcd", 250*time.Millisecond, 300*time.Millisecond, 4*time.Second)
		}})
		for _, name := range tiers {
			p.Play(t, Fault{Name: "a tenth of a CPU for " + name, Budget: budget, Break: func(t *testing.T) {
				p.stutter(t, name, 90*time.Millisecond, 100*time.Millisecond, 4*time.Second)
			}})
			p.Play(t, Fault{Name: "no descriptors for " + name, Budget: budget, Break: func(t *testing.T) { p.withoutDescriptors(t, name, 3*time.Second) }})
		}
		if *long {
			p.Play(t, Fault{Name: "no descriptors for etcd", Budget: budget, Break: func(t *testing.T) { p.withoutDescriptors(t, "etcd", 3*time.Second) }})
			p.Play(t, Fault{Name: "memory limit of extensions passed", Budget: budget, Break: p.passMemoryLimit})
		}
	}
	p.settled(t)
}
