package lifecycle

// Phase is how the whole of a control plane stands.
type Phase string

const (
	// PhaseStarting: not everything has been ready yet.
	PhaseStarting Phase = "Starting"
	// PhaseReady: everything is ready.
	PhaseReady Phase = "Ready"
	// PhaseDegraded: everything was ready, and something is not now.
	PhaseDegraded Phase = "Degraded"
	// PhaseStopping: told to stop.
	PhaseStopping Phase = "Stopping"
)

// NextPhase derives the phase that follows the phase before from the states of
// all children.
func NextPhase(before Phase, stopping bool, children []State) Phase {
	if stopping || before == PhaseStopping {
		return PhaseStopping
	}
	for _, s := range children {
		if s != Ready {
			if before == PhaseStarting {
				return PhaseStarting
			}
			return PhaseDegraded
		}
	}
	return PhaseReady
}
