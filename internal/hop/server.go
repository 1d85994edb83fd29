package hop

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/refusal"
)

// ServerConfig says what a Server listens on, whom it lets in and whom it asks.
type ServerConfig struct {
	// Listener is the hop's, TCP without TLS, and Local a unix socket beside it, nil for
	// none; see greeting.go. The Server owns both.
	Listener, Local net.Listener
	// CAFile is the bundle that peers are verified against; CertFile and
	// KeyFile are what they are shown. All PEM; Reload reads them again.
	CAFile, CertFile, KeyFile string
	// Admit tells which peers may connect. It is asked once a connection,
	// during the handshake: a wrong peer never gets to send a request. It may
	// be called from several goroutines.
	Admit func(identity.Peer) bool
	// Handler serves the requests. PeerFrom tells it who called.
	Handler http.Handler
	// Watches tells which requests may end at any time, as by their timeout, and are asked again. They end
	// before their connection has to, by their context. Nil means none of them.
	Watches func(*http.Request) bool
}

// Server is the serving end of a hop: HTTP/1.1 for forwarders and HTTP/2 for
// informers, over TLS 1.3 with a client certificate of the internal CA. On a unix socket
// it is HTTP/1.1 behind the handshake of TLS.
type Server struct {
	config      ServerConfig
	credentials atomic.Pointer[material]
	listeners   []*peerListener // Listener and, if there is one, Local
	peers       peerSet
	lookouts    lookouts
	trunks      trunkSet
	watches     sync.WaitGroup // on trunks
	draining    atomic.Bool
	streams     *handover    // connections of HTTP/2, on their way to http
	http        *http.Server // serves HTTP/2
}

// NewServer reads the files of c. It fails when one of them is missing or does
// not hold what it should; nothing is served until Serve.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Listener == nil || c.Admit == nil || c.Handler == nil {
		return nil, errors.New("cannot make a hop server without Listener, Admit and Handler")
	}
	register()
	s := &Server{config: c, streams: newHandover(c.Listener.Addr())}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.listeners = []*peerListener{s.wrap(c.Listener)}
	if c.Local != nil {
		s.listeners = append(s.listeners, s.wrap(c.Local))
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		TLSConfig:         s.tlsConfig(),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       serverIdleTimeout,
		MaxHeaderBytes:    maxRequestHead,
		ConnContext:       withPeer,
		ErrorLog:          log.New(refusal.New("hop"), "", 0),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		// A method and path of our own tiers are never for the server itself.
		DisableGeneralOptionsHandler: true,
	}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP2(true)
	return s, nil
}

func (s *Server) wrap(l net.Listener) *peerListener {
	return &peerListener{Listener: l, set: &s.peers, close: sync.OnceValue(l.Close)}
}

// Serve takes connections until Shutdown or Close, which make it return nil.
func (s *Server) Serve() error {
	failed := make(chan error, 1+len(s.listeners))
	go func() { failed <- s.http.Serve(s.streams) }()
	for i, l := range s.listeners {
		admit := s.greetTCP
		if i > 0 {
			admit = s.greetLocal
		}
		go func() { failed <- accept(l, admit) }()
	}
	err := <-failed
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) || s.draining.Load() {
		return nil
	}
	return fmt.Errorf("cannot serve the hop: %w", err)
}

func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range s.listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// Shutdown stops accepting and returns when every request is finished, or with
// ctx's error when ctx ends first. Peers are told on their connections, so that
// no request is lost on one of them; see farewell.go. Upgraded connections are
// not waited for; Close ends them.
func (s *Server) Shutdown(ctx context.Context) error {
	// net/http's own Shutdown drops what it reads from then on, so it comes last
	// and finds connections of HTTP/2 alone.
	s.draining.Store(true)
	if err := errors.Join(s.closeListeners(), s.dismiss(ctx), s.awaitWatches(ctx)); err != nil {
		return err
	}
	s.endTrunks(ctx)
	return s.http.Shutdown(ctx)
}

// awaitWatches waits for those on trunks. There are no new ones once every peer is dismissed.
func (s *Server) awaitWatches(ctx context.Context) error {
	ended := make(chan struct{})
	go func() { s.watches.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends every connection at once, upgraded ones too.
func (s *Server) Close() error {
	err := errors.Join(s.closeListeners(), s.http.Close())
	s.peers.closeAll()
	s.lookouts.close()
	return err
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _ := r.Context().Value(peerKey{}).(*peerConn)
	if s.draining.Load() || conn.aged() {
		w.Header().Set("Connection", "close") // HTTP/2 makes a GOAWAY of it
	}
	if conn != nil && isTrunk(r) {
		s.serveTrunk(w, r, conn)
		return
	}
	if conn != nil && s.config.Watches != nil && s.config.Watches(r) {
		ctx, end := context.WithCancelCause(r.Context())
		defer end(nil)
		defer context.AfterFunc(conn.fresh, func() { end(ErrEnd) })()
		r = r.WithContext(ctx)
		if inner, ok := w.(serverWriter); ok && r.Header.Get(trunkHeader) != "" {
			if lane := s.laneFor(r, conn); lane != nil {
				s.serveWatch(s.config.Handler, inner, r, lane)
				return
			}
			w.Header().Set(trunkHeader, trunkOver)
		}
	}
	s.config.Handler.ServeHTTP(w, r)
}
