package dialer

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/tunnel"
)

// Connecting answers the CONNECT of another tier, in front of everything else.
// Whoever may ask could dial by itself if the nodes were reached directly: it gets
// connections, and neither the key nor a shell.
func (n *Nodes) Connecting(handler http.Handler) http.Handler {
	if n == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, inner := hop.PeerFrom(r.Context())
		if r.Method != http.MethodConnect || !inner || !mayConnect(peer) {
			handler.ServeHTTP(w, r)
			return
		}
		connect(w, r, n.keeper.DialContext)
	})
}

func mayConnect(peer identity.Peer) bool {
	return peer.Role == identity.Self && (peer.Name == tier.Aggregator || peer.Name == tier.Extensions)
}

// connect joins the caller with what it asks for.
func connect(w http.ResponseWriter, r *http.Request, dial utilnet.DialFunc) {
	there, err := dial(r.Context(), "tcp", r.Host)
	if err != nil {
		klog.V(2).InfoS("Cannot connect another tier to a node", "address", r.Host, "err", err)
	}
	here, buffered, hijackErr := http.NewResponseController(w).Hijack()
	if hijackErr != nil {
		if there != nil {
			there.Close()
		}
		http.Error(w, "CONNECT needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	defer here.Close()
	if err != nil {
		// The status line is all of an answer that the egress dialer passes on.
		fmt.Fprintf(here, "HTTP/1.1 503 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", oneLine(err))
		return
	}
	defer there.Close()
	if _, err := io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	join(here, buffered.Reader, there)
}

func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }), " ")
}

// join copies both ways until one end is gone or both have said all.
func join(here net.Conn, from *bufio.Reader, there net.Conn) {
	var both sync.WaitGroup
	flow := func(to net.Conn, from io.Reader) {
		if _, err := io.Copy(to, from); err == nil && closeWrite(to) {
			return
		}
		here.Close()
		there.Close()
	}
	both.Go(func() { flow(there, from) })
	both.Go(func() { flow(here, there) })
	both.Wait()
}

func closeWrite(c net.Conn) bool {
	half, ok := c.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// direct dials this machine's own loopback by itself: the API behind
// kubernetes.default.svc is there.
func direct(dial utilnet.DialFunc) utilnet.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if tunnel.IsLoopback(address) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		return dial(ctx, network, address)
	}
}
