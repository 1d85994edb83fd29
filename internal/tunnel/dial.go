package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/internal/sshaccess"
)

const (
	// patience is how long a dial waits for a tunnel that is not up.
	patience = 3 * time.Second
	// answer is the last part of it, in which a server that has not answered a dial
	// is asked for a sign of life.
	answer = 2 * time.Second
	// dialTimeout bounds a dial through a tunnel; net/http's default transport has
	// the same for dials without one.
	dialTimeout = 30 * time.Second
)

// DialContext connects to address from a node. What listens on loopback is meant to
// be on this machine and is dialed without a tunnel: on a node it is nobody's
// business. Without a tunnel to dial through the error is a 503.
func (k *Keeper) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if IsLoopback(address) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	conn, reason, err := k.dial(ctx, canonical(host), address)
	if err != nil {
		dialErrors.WithLabelValues(reason).Inc()
		return nil, err
	}
	dialDuration.Observe(time.Since(began).Seconds())
	return conn, nil
}

// dial tries again when the tunnel itself fails: that nothing was sent through it to
// the address is certain then.
func (k *Keeper) dial(ctx context.Context, host, address string) (net.Conn, string, error) {
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var spent []*sshaccess.Client
	for {
		client, err := k.await(soon, host, spent)
		if err != nil && len(spent) > 0 {
			return nil, reasonLost, err
		}
		if err != nil {
			return nil, reasonNoTunnel, err
		}
		conn, err := dialThrough(ctx, client, address)
		if err == nil {
			return conn, "", nil
		}
		if refused := (*ssh.OpenChannelError)(nil); errors.As(err, &refused) {
			return nil, reasonRefused, fmt.Errorf("dial tcp %s from %s: %s", address, client.RemoteAddr(), refused.Message)
		}
		if ctx.Err() != nil {
			return nil, reasonTimeout, fmt.Errorf("dial tcp %s from %s: %w", address, client.RemoteAddr(), ctx.Err())
		}
		spent = append(spent, client)
	}
}

// dialThrough dials by one connection and gives up when there is neither an answer nor
// another sign of life. To close the connection is left to its tunnel, which has more
// patience: others use it.
func dialThrough(ctx context.Context, client *sshaccess.Client, address string) (net.Conn, error) {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	doubt := time.AfterFunc(patience-answer, func() {
		soon, cancel := context.WithTimeout(ctx, answer)
		defer cancel()
		if client.Ask(soon) != nil {
			giveUp()
		}
	})
	defer doubt.Stop()
	return client.DialContext(ctx, "tcp", address)
}

// Await waits, not long, for a tunnel from which host can be reached; an empty one can
// be from any. What leads to a certain host must answer, because of what follows
// upstream makes a 500 where a dial fails.
func (k *Keeper) Await(ctx context.Context, host string) error {
	if isLocal(host) {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var spent []*sshaccess.Client
	for {
		client, err := k.await(soon, canonical(host), spent)
		if err != nil || host == "" || client.Ask(soon) == nil {
			return err
		}
		spent = append(spent, client)
	}
}

// await returns a connection from which host can be reached, as soon as there is one
// that is not spent.
func (k *Keeper) await(ctx context.Context, host string, spent []*sshaccess.Client) (*sshaccess.Client, error) {
	for {
		changed := k.news.next()
		now := k.index.Load()
		claim := now.by[host]
		candidates := believed(claim, host)
		if len(claim) == 0 {
			candidates = now.all
		}
		if client := anyUp(candidates, spent); client != nil {
			return client, nil
		}
		if len(now.all) == 0 && k.known.Load() {
			return nil, unavailable("there is no node to dial from")
		}
		for _, t := range slices.Concat(candidates, claim) {
			t.want()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if len(candidates) == 0 && len(claim) > 0 {
				return nil, unavailable(fmt.Sprintf("%d nodes say that %s is theirs, and none was reached there", len(claim), host))
			}
			return nil, unavailable(explain(candidates))
		}
	}
}

// believed decides between nodes that claim the same address, because a node says of
// itself what its addresses are, and must not draw to it what is for another: those
// count that were logged in to at it, for which a host key stands, or have it for
// their name.
func believed(claim []*tunnel, host string) []*tunnel {
	if len(claim) < 2 {
		return claim
	}
	var proven []*tunnel
	for _, t := range claim {
		if canonical(t.name) == host || canonical(t.last()) == host {
			proven = append(proven, t)
		}
	}
	return proven
}

// anyUp returns a connection that is not spent, or nil.
func anyUp(tunnels []*tunnel, spent []*sshaccess.Client) *sshaccess.Client {
	if len(tunnels) == 0 {
		return nil
	}
	from := rand.IntN(len(tunnels))
	for i := range tunnels {
		if client := tunnels[(from+i)%len(tunnels)].up(); client != nil && !slices.Contains(spent, client) {
			return client
		}
	}
	return nil
}

func explain(tunnels []*tunnel) string {
	switch len(tunnels) {
	case 0:
		return "the nodes are not known yet"
	case 1:
		return tunnels[0].explain()
	}
	return fmt.Sprintf("none of %d SSH tunnels is up; %s", len(tunnels), tunnels[0].explain())
}

// unavailable is the error that API servers answer with 503.
func unavailable(why string) error {
	err := apierrors.NewServiceUnavailable(strings.ReplaceAll(why, "\n", "; "))
	err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return err
}
