package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/sshaccess"
)

// State is how a tunnel is.
type State string

const (
	// Connecting: it was not up yet, and no attempt has failed.
	Connecting State = "connecting"
	// Up: it can be dialed through.
	Up State = "up"
	// Down: the last attempt failed, or what was up is lost. It is tried again.
	Down State = "down"
)

const (
	// hastiest is the pause between two attempts when somebody waits for the tunnel.
	hastiest = 500 * time.Millisecond
	// settled is how long a tunnel must have been up for its failure to be a new one.
	settled = 10 * time.Second
)

// pauses between attempts: from half a second to half a minute, each up to twice as
// long at random so that a thousand nodes do not come back at once.
func pauses() wait.Backoff {
	return wait.Backoff{Duration: hastiest, Factor: 2, Jitter: 1, Steps: 10, Cap: 30 * time.Second}
}

// tunnel is the connection to one node. A single goroutine, run, makes it.
type tunnel struct {
	name    string
	connect Connect
	tell    func() // everybody who waits
	end     context.CancelFunc
	wanted  chan struct{} // somebody waits for the tunnel, or there is a new address

	mu        sync.Mutex
	addresses []string
	state     State
	client    *sshaccess.Client // nil unless up
	at        string            // the address of client, or of the last one
	why       error             // down
}

func newTunnel(node Node, connect Connect, tell func(), end context.CancelFunc) *tunnel {
	states.WithLabelValues(string(Connecting)).Inc()
	return &tunnel{
		name: node.Name, connect: connect, tell: tell, end: end, wanted: make(chan struct{}, 1),
		addresses: slices.Clone(node.Addresses), state: Connecting,
	}
}

// run keeps the tunnel until ctx ends.
func (t *tunnel) run(ctx context.Context) {
	backoff := pauses()
	for {
		began := time.Now()
		client, at, err := t.open(ctx)
		if err == nil {
			began = time.Now()
			t.become(Up, client, at, nil)
			err = client.Attend(ctx)
			if time.Since(began) > settled {
				backoff = pauses()
			}
		}
		if ctx.Err() != nil {
			t.finish()
			return
		}
		t.become(Down, nil, at, err)
		t.pause(ctx, began, backoff.Step())
	}
}

// open logs in at the first address that lets us, beginning with the one that did
// last.
func (t *tunnel) open(ctx context.Context) (*sshaccess.Client, string, error) {
	t.mu.Lock()
	addresses, last := slices.Clone(t.addresses), t.at
	t.mu.Unlock()
	if i := slices.Index(addresses, last); i > 0 {
		addresses = append([]string{last}, slices.Delete(addresses, i, i+1)...)
	}
	var errs []error
	for _, address := range addresses {
		client, err := t.connect(ctx, address)
		if err == nil {
			return client, address, nil
		}
		errs = append(errs, err)
	}
	return nil, last, errors.Join(errs...)
}

func (t *tunnel) become(state State, client *sshaccess.Client, at string, why error) {
	t.mu.Lock()
	before := t.state
	t.state, t.client, t.at, t.why = state, client, at, why
	t.mu.Unlock()
	states.WithLabelValues(string(before)).Dec()
	states.WithLabelValues(string(state)).Inc()
	switch {
	case state == Up:
		klog.InfoS("SSH tunnel is up", "node", t.name, "address", at)
	case before != Down:
		klog.ErrorS(why, "No SSH tunnel to the node", "node", t.name)
	default:
		klog.V(2).InfoS("Still no SSH tunnel to the node", "node", t.name, "err", why)
	}
	t.tell()
}

// finish is the end of the tunnel: the node is gone, or this process stops.
func (t *tunnel) finish() {
	t.mu.Lock()
	states.WithLabelValues(string(t.state)).Dec()
	t.state, t.client, t.why = Down, nil, errors.New("the node is gone")
	t.mu.Unlock()
	t.tell()
}

// pause waits before the next attempt, less long if somebody wants the tunnel.
func (t *tunnel) pause(ctx context.Context, began time.Time, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	wanted := t.wanted
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-wanted:
			wanted = nil // once: the timer is short now
			timer.Reset(max(0, hastiest-time.Since(began)))
		}
	}
}

// want has the tunnel connect soon.
func (t *tunnel) want() {
	select {
	case t.wanted <- struct{}{}:
	default:
	}
}

// move changes the addresses. A connection to an address that the node has no more
// may lead to another machine.
func (t *tunnel) move(addresses []string) {
	t.mu.Lock()
	changed := !slices.Equal(t.addresses, addresses)
	t.addresses = slices.Clone(addresses)
	lost := t.client
	if slices.Contains(addresses, t.at) {
		lost = nil
	}
	t.mu.Unlock()
	if lost != nil {
		lost.Close()
	}
	if changed {
		t.want()
	}
}

// up returns the connection, nil if there is none.
func (t *tunnel) up() *sshaccess.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.client
}

// last returns the address that was logged in to last, empty if none was.
func (t *tunnel) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// explain says why the tunnel cannot be used.
func (t *tunnel) explain() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.client != nil:
		return fmt.Sprintf("the SSH tunnel to node %s does not answer", t.name)
	case t.why == nil:
		return fmt.Sprintf("no SSH tunnel to node %s yet", t.name)
	}
	return fmt.Sprintf("no SSH tunnel to node %s: %v", t.name, t.why)
}
