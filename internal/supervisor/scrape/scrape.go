// Package scrape serves metrics of the supervisor itself by HTTPS, also while every tier is away. Nobody is answered who
// does not show a client certificate of the given CA with a group that may monitor, or the bearer token.
package scrape

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/refusal"
)

const (
	// headerTimeout and answerTimeout bound how long a client may take, idleTimeout how long it may keep a connection.
	headerTimeout, answerTimeout, idleTimeout = 10 * time.Second, 30 * time.Second, 3 * time.Minute
	// maxScrapes is how many are answered at a time, maxConnections how many may be open; others wait.
	maxScrapes, maxConnections = 4, 256
)

// groups of a client certificate that may read metrics, as they may with kube-apiserver.
var groups = []string{"system:masters", "system:monitoring"}

// Config says where a Server listens and whom it answers.
type Config struct {
	// Listener is TCP. The Server owns it.
	Listener net.Listener
	// Credentials are the serving certificate, and the CA of clients' certificates.
	Credentials *credentials.Credentials
	// TokenFile holds the bearer token and is read at each request; empty means that there is none.
	TokenFile string
	Gatherer  prometheus.Gatherer
}

// Server answers GET /metrics. Its methods may be called from any goroutine.
type Server struct {
	http     *http.Server
	listener net.Listener
	config   Config
	refused  *refusal.Log
}

// New makes a Server; it serves nobody before Serve.
func New(c Config) *Server {
	s := &Server{config: c, refused: refusal.New("metrics")}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError,
	}))
	s.http = &http.Server{
		Handler: s.authenticated(mux), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}
	s.listener = tls.NewListener(netutil.LimitListener(c.Listener, maxConnections), &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.Credentials.Now()
			return &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{now.Pair},
				ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: now.Roots, SessionTicketsDisabled: true,
			}, nil
		},
	})
	return s
}

// Serve answers until Close and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cannot serve metrics: %w", err)
	}
	return nil
}

// Close ends all connections.
func (s *Server) Close() error {
	err := s.http.Close()
	if closed := s.listener.Close(); !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}

func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, why := s.judge(r)
		if code == http.StatusOK {
			next.ServeHTTP(w, r)
			return
		}
		s.refused.Refused(r.RemoteAddr, why)
		if code == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		http.Error(w, http.StatusText(code), code)
	})
}

// judge tells what a request is answered by, and why if not by 200.
func (s *Server) judge(r *http.Request) (code int, why string) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		if s.known(token) {
			return http.StatusOK, ""
		}
		return http.StatusUnauthorized, "the bearer token is not that of --metrics-token-file"
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return http.StatusUnauthorized, "it shows neither a client certificate nor a bearer token"
	}
	if !monitors(r.TLS.VerifiedChains[0][0]) {
		return http.StatusForbidden, "its certificate is of no group that may read metrics"
	}
	return http.StatusOK, ""
}

func monitors(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Subject.Organization, func(group string) bool { return slices.Contains(groups, group) })
}

// known compares in a time that says nothing about the token.
func (s *Server) known(token string) bool {
	if s.config.TokenFile == "" {
		return false
	}
	data, err := os.ReadFile(s.config.TokenFile)
	want := strings.TrimSpace(string(data))
	if err != nil || want == "" {
		return false
	}
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
