package lifecycle

import "testing"

func TestNextPhase(t *testing.T) {
	all := []State{Ready, Ready, Ready, Ready}
	extensionsAway := []State{Ready, Backoff, Ready, Ready}
	for _, c := range []struct {
		name     string
		before   Phase
		stopping bool
		states   []State
		want     Phase
	}{
		{"at first", PhaseStarting, false, []State{Starting, Idle, Idle, Idle}, PhaseStarting},
		{"the first Ready needs all", PhaseStarting, false, extensionsAway, PhaseStarting},
		{"all ready", PhaseStarting, false, all, PhaseReady},
		{"extensions away later", PhaseReady, false, extensionsAway, PhaseDegraded},
		{"readiness lost", PhaseReady, false, []State{Ready, Ready, Unready, Ready}, PhaseDegraded},
		{"still away", PhaseDegraded, false, extensionsAway, PhaseDegraded},
		{"back", PhaseDegraded, false, all, PhaseReady},
		{"told to stop", PhaseReady, true, all, PhaseStopping},
		{"told to stop while starting", PhaseStarting, true, extensionsAway, PhaseStopping},
		{"stopping is for good", PhaseStopping, false, all, PhaseStopping},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := NextPhase(c.before, c.stopping, c.states); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
