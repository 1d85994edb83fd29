package dialer

import (
	"context"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/sshaccess"
	"triptych.dev/triptych/internal/tunnel"
)

const (
	// checkName is that of the health check, in the manner of its neighbours.
	checkName = "ssh-tunnels"
	// resync is how often the nodes are looked at without a change.
	resync = 30 * time.Second
)

// Nodes are core's tunnels. A nil *Nodes is none: nodes are reached directly.
type Nodes struct {
	keeper *tunnel.Keeper
	route  *sshaccess.Route
	nodes  listers.NodeLister
	pods   listers.PodLister
	synced cache.InformerSynced
	// types are the kinds of addresses, the preferred first.
	types   []corev1.NodeAddressType
	changed chan struct{}
}

// Keep has core reach nodes by SSH, if so configured. preferred are the values of
// --kubelet-preferred-address-types.
func (o *Options) Keep(c *genericapiserver.Config, factory informers.SharedInformerFactory, preferred []string) (*Nodes, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if !o.enabled() {
		return nil, nil
	}
	route := sshaccess.NewRoute(&o.Access)
	informer := factory.Core().V1().Nodes()
	n := &Nodes{
		keeper: tunnel.New(route.Connect), route: route,
		nodes: informer.Lister(), pods: factory.Core().V1().Pods().Lister(),
		synced: informer.Informer().HasSynced, changed: make(chan struct{}, 1),
	}
	for _, t := range preferred {
		n.types = append(n.types, corev1.NodeAddressType(t))
	}
	if _, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { n.notify() }, DeleteFunc: func(any) { n.notify() },
		UpdateFunc: func(before, now any) {
			if !sameAddresses(before, now) {
				n.notify()
			}
		},
	}); err != nil {
		return nil, err
	}
	return n, selectCluster(c, n.keeper.DialContext)
}

func (n *Nodes) notify() {
	select {
	case n.changed <- struct{}{}:
	default: // a look that is due will see this change too
	}
}

// Follow has the server keep the tunnels while it runs, and fail its health checks
// when it does not.
func (n *Nodes) Follow(server *genericapiserver.GenericAPIServer) error {
	if n == nil {
		return nil
	}
	err := server.AddPostStartHook("triptych-"+checkName, func(ctx genericapiserver.PostStartHookContext) error {
		go n.run(ctx)
		return nil
	})
	if err != nil {
		return err
	}
	return server.AddHealthChecks(healthz.NamedCheck(checkName, func(*http.Request) error { return n.keeper.Check() }))
}

// Tell has the supervisor told how the tunnels stand. It is called before the
// handshake is served.
func (n *Nodes) Tell(s *handshake.Server) {
	if n != nil {
		s.RegisterTunnels(n.count)
	}
}

func (n *Nodes) count() *handshakev1.CountResponse {
	states := n.keeper.States()
	return &handshakev1.CountResponse{
		Up: int64(states[tunnel.Up]), Connecting: int64(states[tunnel.Connecting]), Down: int64(states[tunnel.Down]),
		SyncAgeSeconds: n.keeper.SyncAge().Seconds(),
	}
}

// Close ends every tunnel, after the last request.
func (n *Nodes) Close() {
	if n != nil {
		n.keeper.Close()
		n.route.Close()
	}
}

func (n *Nodes) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), n.synced) {
		return
	}
	tick := time.NewTicker(resync)
	defer tick.Stop()
	for {
		nodes, err := n.nodes.List(labels.Everything())
		if err != nil {
			klog.ErrorS(err, "Cannot list the nodes") // a lister over memory does not fail
		} else {
			n.keeper.Sync(reached(nodes, n.types))
		}
		select {
		case <-ctx.Done():
			return
		case <-n.changed:
		case <-tick.C:
		}
	}
}

// reached returns where the nodes are reached: their addresses of the wanted types,
// in the order of those.
func reached(nodes []*corev1.Node, types []corev1.NodeAddressType) []tunnel.Node {
	all := make([]tunnel.Node, 0, len(nodes))
	for _, node := range nodes {
		at := tunnel.Node{Name: node.Name}
		for _, wanted := range types {
			for _, a := range node.Status.Addresses {
				if a.Type == wanted && a.Address != "" {
					at.Addresses = append(at.Addresses, a.Address)
				}
			}
		}
		all = append(all, at)
	}
	return all
}

// sameAddresses spares a look at all nodes for each heartbeat of one.
func sameAddresses(before, now any) bool {
	a, isA := before.(*corev1.Node)
	b, isB := now.(*corev1.Node)
	return isA && isB && slices.Equal(a.Status.Addresses, b.Status.Addresses)
}
