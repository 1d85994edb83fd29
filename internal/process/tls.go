package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// papers are the internal credentials of this process.
type papers struct {
	serving, self *credentials.Credentials
	// delegation is nil where the tier delegates to nobody.
	delegation *credentials.Credentials
}

func loadPapers(pki wiring.PKI) (p papers, err error) {
	for _, one := range []struct {
		to   **credentials.Credentials
		pair wiring.KeyPair
	}{{&p.serving, pki.Serving}, {&p.self, pki.Self}, {&p.delegation, pki.Delegation}} {
		if one.pair == (wiring.KeyPair{}) {
			continue
		}
		if *one.to, err = credentials.Load(credentials.Files{CA: pki.CA, Cert: one.pair.Cert, Key: one.pair.Key}); err != nil {
			return p, fmt.Errorf("cannot use the internal certificates: %w", err)
		}
	}
	p.report()
	return p, nil
}

// reload reads all files again, and tells whether anything changed.
func (p papers) reload() (changed bool, err error) {
	for _, one := range []*credentials.Credentials{p.serving, p.self, p.delegation} {
		if one == nil {
			continue
		}
		again, err := one.Reload()
		if err != nil {
			return changed, err
		}
		changed = changed || again
	}
	p.report()
	return changed, nil
}

// trustPatience is how long requests have to be answered on a connection whose peer is not trusted any more.
// It is more than a request may take, unless the user says so.
const trustPatience = 70 * time.Second

// renew has the present files in force: for what is dialed and accepted from now on at once, and on return for
// the connections that there were. Those by certificates that the bundle does not vouch for are closed at once with cut, else
// when they have had time to answer.
func (p *Process) renew(ctx context.Context, cut bool) error {
	changed, err := p.papers.reload()
	p.mu.Lock()
	p.stale = p.stale || changed
	if err != nil || !p.stale {
		p.mu.Unlock()
		return err
	}
	watched, renewed := make([]reconnecter, 0, len(p.watched)), slices.Clone(p.onRenewed)
	for _, one := range p.watched {
		watched = append(watched, one)
	}
	p.mu.Unlock()
	patience := trustPatience
	if cut {
		patience = 0
	}
	var errs []error
	for _, one := range watched {
		errs = append(errs, one.Reconnect(ctx))
	}
	for _, f := range renewed {
		errs = append(errs, f(patience))
	}
	p.Handshake.Verify(p.papers.serving.Now().Roots, patience)
	if err = errors.Join(errs...); err == nil {
		p.mu.Lock()
		p.stale = false
		p.mu.Unlock()
	}
	return err
}

type reconnecter interface{ Reconnect(context.Context) error }

// OnRenewed has f called when the internal certificates or the CA have been replaced in their files.
// Connections of those who are not trusted any more are closed after patience.
func (p *Process) OnRenewed(f func(patience time.Duration) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onRenewed = append(p.onRenewed, f)
}

// ClientConfig is for calls that this process makes as itself to the named
// tier, or to itself, which is what an API server calls its loopback client. Each
// connection to another tier is made to the replica that is of most use then. Who we are and whom
// we trust is looked at for each connection, so clients of it do not use client-go's own transport. The
// CA is in it as data all the same: clients of webhooks add the bundles of webhooks to it.
func (p *Process) ClientConfig(to tier.Name) (*rest.Config, error) {
	c := &rest.Config{
		Host:            loopbackURL(p.Wiring.Own().Hop),
		TLSClientConfig: rest.TLSClientConfig{CAData: slices.Clip(p.papers.self.Now().Bundle), ServerName: identity.ServerName(to)},
		UserAgent:       userAgent(),
		ContentConfig:   rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"},
		// The tiers are one control plane: none throttles another, and on
		// loopback compressing costs more than it saves.
		QPS:                -1,
		DisableCompression: true,
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.Wiring.Own().Hop)
	}
	if to != p.Wiring.Tier {
		replicas, err := p.Watch(to)
		if err != nil {
			return nil, err
		}
		at := ""
		if known := p.Wiring.Tiers[to]; len(known) > 0 {
			at = known[0].Hop
		}
		c.Host, dial = loopbackURL(at), newDialer(replicas).DialContext
	}
	c.Wrap(func(http.RoundTripper) http.RoundTripper {
		return &ownCalls{as: p.papers.self, make: func() *http.Transport { return newTransport(p.papers.self.Client(identity.ServerName(to)), dial) }}
	})
	return c, nil
}

// newTransport is client-go's, but for the TLS.
func newTransport(config *tls.Config, dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return utilnet.SetTransportDefaults(&http.Transport{
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: config, MaxIdleConnsPerHost: 25,
		DialContext: dial, DisableCompression: true,
	})
}

// ownCalls is the transport of a client. It leaves its connections when there are other certificates; what is
// under way on them is answered. client-go's own would close them, and what is under way with them.
type ownCalls struct {
	as   *credentials.Credentials
	make func() *http.Transport
	now  atomic.Pointer[generation]
}

type generation struct {
	number int64
	*http.Transport
}

// RoundTrip implements http.RoundTripper.
func (c *ownCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	for {
		now, number := c.now.Load(), c.as.Generation()
		if now != nil && now.number == number {
			return now.RoundTrip(r)
		}
		if c.now.CompareAndSwap(now, &generation{number, c.make()}) && now != nil {
			now.CloseIdleConnections()
		}
	}
}

// CloseIdleConnections is what client-go asks transports for.
func (c *ownCalls) CloseIdleConnections() {
	if now := c.now.Load(); now != nil {
		now.CloseIdleConnections()
	}
}

// loopbackURL is what a client with a Dial of its own believes to call. It is loopback
// wherever the tier is: no proxy of the environment is asked about that.
func loopbackURL(hop string) string {
	if _, port, err := net.SplitHostPort(hop); err == nil {
		return "https://" + net.JoinHostPort("127.0.0.1", port)
	}
	return "https://127.0.0.1"
}

// userAgent is kube-apiserver's, whatever this binary is called: field managers
// are named after it, and audit logs show it.
func userAgent() string {
	_, version, _ := strings.Cut(rest.DefaultKubernetesUserAgent(), "/")
	return "kube-apiserver/" + version
}

// DelegationTLS is the configuration for calls to the named tier that speak for
// others.
func (p *Process) DelegationTLS(to tier.Name) (*tls.Config, error) {
	if p.papers.delegation == nil {
		return nil, fmt.Errorf("%s delegates to nobody", p.Wiring.Tier)
	}
	return p.papers.delegation.Client(identity.ServerName(to)), nil
}
