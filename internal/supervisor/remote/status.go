package remote

import (
	"slices"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
)

// Away is the stage of a replica that does not answer.
const Away = "away"

// Replica is how one replica on another host stands.
type Replica struct {
	// Name is what this host calls it: core@10.0.0.2:7020. Address is its hop.
	Name, Address string
	// Stage is the highest it has reached, or Away.
	Stage string
	// Description is who answers there; nil while nobody does.
	Description *handshakev1.DescribeResponse
}

// Status returns the replicas of the named tier on other hosts.
func (h *Hosts) Status(name tier.Name) []Replica {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Replica
	h.each(func(p *place) {
		known := slices.ContainsFunc(all, func(r Replica) bool { return r.Name == p.at.Replica })
		if p.host.tier != name || known || p.ours {
			return
		}
		r := Replica{Name: p.at.Replica, Address: p.at.Hop, Stage: Away}
		if state, _ := p.client.State(); state.Connected {
			r.Description, r.Stage = state.Description, "starting"
			for _, stage := range tier.Stages {
				if state.Reached[stage] {
					r.Stage = string(stage)
				}
			}
		}
		all = append(all, r)
	})
	return all
}
