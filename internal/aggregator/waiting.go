package aggregator

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/serving"
)

// waiting answers 503 on the secure port while the head cannot be built, which
// takes as long as core is away. Its socket stays open over restarts of the
// head, so clients would otherwise hang where they should come back later.
type waiting struct {
	http     *http.Server
	listener *lent
	done     chan struct{}
}

// standIn begins to answer. secure must have been applied; its listener is lent and
// not taken.
func standIn(secure *server.SecureServingInfo) (*waiting, error) {
	certificate, err := tls.X509KeyPair(secure.Cert.CurrentCertKeyContent())
	if err != nil {
		return nil, err
	}
	w := &waiting{
		http: &http.Server{
			ReadHeaderTimeout: 10 * time.Second,
			MaxHeaderBytes:    1 << 20,
			ErrorLog:          log.New(io.Discard, "", 0),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Connection", "close") // the next request is for the real server
				serving.Unavailable(w, r, "the core tier is away")
			}),
			TLSConfig: &tls.Config{
				MinVersion:   max(secure.MinTLSVersion, tls.VersionTLS12),
				CipherSuites: secure.CipherSuites,
				Certificates: []tls.Certificate{certificate},
			},
		},
		listener: &lent{Listener: secure.Listener},
		done:     make(chan struct{}),
	}
	go func() {
		defer close(w.done)
		_ = w.http.ServeTLS(w.listener, "", "")
	}()
	return w, nil
}

// end gives the listener back. Requests in flight are answered.
func (w *waiting) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	w.listener.release()
	<-w.done
	if err := w.http.Shutdown(ctx); err != nil {
		_ = w.http.Close()
	}
	w.listener.restore()
}

// lent is a listener whose Accept can be ended without closing the socket.
type lent struct {
	net.Listener
	mu       sync.Mutex
	released bool
}

func (l *lent) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.released {
		return nil, net.ErrClosed
	}
	return c, err
}

// Close implements net.Listener: what is lent is not closed.
func (l *lent) Close() error { return nil }

type deadliner interface{ SetDeadline(time.Time) error }

// release ends Accept, now and from now on.
func (l *lent) release() {
	l.mu.Lock()
	l.released = true
	l.mu.Unlock()
	if d, ok := l.Listener.(deadliner); ok {
		_ = d.SetDeadline(time.Unix(1, 0))
	}
}

// restore leaves the listener as it was.
func (l *lent) restore() {
	if d, ok := l.Listener.(deadliner); ok {
		_ = d.SetDeadline(time.Time{})
	}
}
