package supervisor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/remote"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// headHere tells whether the head is on this host.
func (s *setup) headHere() bool { return slices.Contains(s.here, s.head) }

// publishesHeads tells whether core publishes heads of other hosts. An address that is given
// is published as it is: it may be a load balancer's.
func (s *setup) publishesHeads() bool {
	return !s.headHere() && !s.options.Forwarded.Given("advertise-address")
}

// headURL is how this host reaches a secure port: its own, or that of a host that has one.
func (s *setup) headURL() string {
	if s.headHere() {
		return serverURL(s.options, s.sockets.public.address.Port)
	}
	return "https://" + net.JoinHostPort(s.options.TierAt[s.head][0].Host, fmt.Sprint(s.options.SecurePort))
}

// publicAddress is where the head of this host is found by others. Without one the port
// counts alone.
func (s *setup) publicAddress() string {
	port := s.options.SecurePort
	if s.headHere() {
		port = s.sockets.public.address.Port
	}
	return net.JoinHostPort(s.advertise.String(), fmt.Sprint(port))
}

// findHosts finds out where the tiers of other hosts are.
func (s *setup) findHosts() (err error) {
	if s.elsewhere, err = remote.New(s.options.TierAt, s.selfTLS); err != nil {
		return process.ConfigurationError{Err: err}
	}
	for _, problem := range s.elsewhere.Problems() {
		s.told = append(s.told, "warning: "+problem)
	}
	return nil
}

// endpoints are all replicas that this host knows, its own first.
func (s *setup) endpoints() map[tier.Name][]wiring.Endpoint {
	all, elsewhere := s.sockets.endpoints(), s.elsewhere.Endpoints()
	for _, name := range tier.UpTo(s.head) {
		// Never nil: the tier may have no replica at the moment.
		all[name] = slices.Concat([]wiring.Endpoint{}, all[name], elsewhere[name])
	}
	return all
}

// followHosts has the processes here know the replicas of other hosts, to the end of the
// chain.
func (v *Supervisor) followHosts() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-v.chain.done
		cancel()
	}()
	v.setup.elsewhere.Run(ctx, remote.Local{
		Ours: func(incarnation string) bool {
			now, _ := v.chain.Snapshot()
			for _, name := range now.Names {
				if incarnation != "" && now.Children[name].Description.GetIncarnation() == incarnation {
					return true
				}
			}
			return false
		},
		Changed: func() {
			if err := v.rewire(ctx, ""); err != nil {
				v.print.Say("the processes do not know the replicas of other hosts: %v", err)
			}
		},
		Say: v.print.Say,
	})
	return nil
}

// remoteStatus lists the replicas of a tier on other hosts.
func (v *Supervisor) remoteStatus(name tier.Name, now Snapshot) []control.Replica {
	var all []control.Replica
	for _, r := range v.setup.elsewhere.Status(name) {
		all = append(all, control.Replica{Name: r.Name, Address: r.Address, Stage: r.Stage, Remote: true, Problem: disagrees(r, now)})
	}
	return all
}

// disagrees says which setting a replica on another host was started with another value
// of than those here, or nothing.
func disagrees(r remote.Replica, now Snapshot) string {
	if r.Description == nil {
		return ""
	}
	for _, name := range now.Names {
		if ours := now.Children[name].Description; ours != nil {
			if err := handshake.Compatible(r.Description, ours.GetSettings()); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}

// leaveHosts has other hosts send nothing to this one any more, as far as they know of its
// replicas. The chain stops next.
func (v *Supervisor) leaveHosts(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveBudget)
	defer cancel()
	now, _ := v.chain.Snapshot()
	var all sync.WaitGroup
	for name := range v.setup.options.TierListen {
		for _, p := range v.setup.sockets.of(name) {
			who := replica(name, p.index)
			if !now.Children[who].Stage.AtLeast(tier.Prepared) {
				continue
			}
			all.Go(func() {
				if err := handshake.Leave(ctx, p.handshake.address.String(), v.setup.selfTLS(name), true); err != nil {
					v.print.Say("%s: cannot tell other hosts that it leaves: %v", who, err)
				}
			})
		}
	}
	all.Wait()
}
