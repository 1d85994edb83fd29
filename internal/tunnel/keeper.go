// Package tunnel keeps an SSH connection to every node and dials through them. A
// node's own addresses are dialed from that node, everything else (pods, cluster
// IPs, endpoints) from any node that is connected.
package tunnel

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"triptych.dev/triptych/internal/sshaccess"
)

// Node is where a node is reached: its names and addresses, the preferred first.
type Node struct {
	Name      string
	Addresses []string
}

// Connect logs in to one address of a node.
type Connect func(ctx context.Context, host string) (*sshaccess.Client, error)

// Keeper has the tunnels. Its methods may be called from several goroutines.
type Keeper struct {
	connect Connect
	// lasting is the context of the tunnels, which Close ends.
	lasting context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	tunnels map[string]*tunnel // by the node's name

	index  atomic.Pointer[index]
	synced atomic.Int64 // UnixNano of the last Sync; before the first, of New
	known  atomic.Bool  // there was a Sync

	news news
}

// index is the tunnels as dials look for them.
type index struct {
	all []*tunnel
	by  map[string][]*tunnel // canonical host
}

// New returns a Keeper that knows no nodes yet.
func New(connect Connect) *Keeper {
	k := &Keeper{connect: connect, tunnels: map[string]*tunnel{}}
	k.lasting, k.end = context.WithCancel(context.Background())
	k.index.Store(&index{})
	k.synced.Store(time.Now().UnixNano())
	k.register()
	return k
}

// Close ends all tunnels and what goes through them.
func (k *Keeper) Close() {
	k.mu.Lock() // no Sync begins another one meanwhile
	k.end()
	k.mu.Unlock()
	k.running.Wait()
}

// Sync has a tunnel kept to each of the nodes and to nobody else. It does not wait
// for any of them.
func (k *Keeper) Sync(nodes []Node) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lasting.Err() != nil {
		return
	}
	next := &index{by: map[string][]*tunnel{}}
	wanted := map[string]bool{}
	for _, node := range nodes {
		if len(node.Addresses) == 0 {
			continue // it has not registered itself completely
		}
		wanted[node.Name] = true
		t := k.tunnels[node.Name]
		if t == nil {
			t = k.begin(node)
		} else {
			t.move(node.Addresses)
		}
		next.all = append(next.all, t)
		for _, address := range node.Addresses {
			host := canonical(address)
			if !slices.Contains(next.by[host], t) {
				next.by[host] = append(next.by[host], t)
			}
		}
	}
	for name, t := range k.tunnels {
		if !wanted[name] {
			t.end()
			delete(k.tunnels, name)
		}
	}
	k.index.Store(next)
	k.synced.Store(time.Now().UnixNano())
	k.known.Store(true)
	k.news.tell()
}

func (k *Keeper) begin(node Node) *tunnel {
	ctx, end := context.WithCancel(k.lasting)
	t := newTunnel(node, k.connect, k.news.tell, end)
	k.tunnels[node.Name] = t
	k.running.Go(func() { t.run(ctx) })
	return t
}

// maxSyncAge is how long the nodes may not have been looked at before Check fails.
const maxSyncAge = 10 * time.Minute

// Check fails when the nodes have not been looked at for long. That some of them
// cannot be reached is no reason: the API server is none the worse for it.
func (k *Keeper) Check() error {
	if age := k.SyncAge(); age > maxSyncAge {
		return fmt.Errorf("the SSH tunnels have not been synced with the nodes for %v", age.Round(time.Second))
	}
	return nil
}

// SyncAge is the time since the last Sync; before the first, since New.
func (k *Keeper) SyncAge() time.Duration { return time.Since(time.Unix(0, k.synced.Load())) }

// States returns how many tunnels are in each state.
func (k *Keeper) States() map[State]int {
	states := map[State]int{Connecting: 0, Up: 0, Down: 0}
	for _, t := range k.index.Load().all {
		t.mu.Lock()
		states[t.state]++
		t.mu.Unlock()
	}
	return states
}

// news wakes everybody who waits for a change. The zero value is ready.
type news struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed with the next change.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}

// canonical returns how a host is looked up. An IP address can be written in many
// ways, of which a node must not claim one that another does not use.
func canonical(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// IsLoopback tells of a host:port that is this machine's own wherever one asks.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLocal(host)
}

// isLocal counts the unspecified address too: who connects to it gets to himself.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip.IsLoopback() || ip.IsUnspecified()
}
