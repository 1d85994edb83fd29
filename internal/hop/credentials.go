package hop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/identity"
)

// material are the files of a ServerConfig as they were read at one time.
type material struct {
	ca      *x509.CertPool
	serving tls.Certificate
}

// Reload reads the files again. New connections use them. An established
// connection whose peer the new bundle no longer vouches for is closed after patience, or at once where
// that is 0; in the meantime its watches end and requests are answered. The others stay. When the files are unusable
// everything stays as it was.
func (s *Server) Reload(patience time.Duration) error {
	if err := s.load(); err != nil {
		return err
	}
	s.peers.verify(s.credentials.Load().ca, patience)
	return nil
}

func (s *Server) load() error {
	bundle, err := os.ReadFile(s.config.CAFile)
	if err != nil {
		return fmt.Errorf("cannot read the internal CA: %w", err)
	}
	c := &material{ca: x509.NewCertPool()}
	if !c.ca.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("cannot use the internal CA: no certificate in %s", s.config.CAFile)
	}
	if c.serving, err = credentials.KeyPair(s.config.CertFile, s.config.KeyFile); err != nil {
		return fmt.Errorf("cannot load the hop's serving certificate: %w", err)
	}
	s.credentials.Store(c)
	return nil
}

var protocols = []string{"h2", "http/1.1"}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         protocols, // net/http looks for h2 here
		GetConfigForClient: s.configFor,
	}
}

// configFor makes the configuration of one connection, so that the verdict on
// its peer lands in that connection and nowhere else.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	conn, ok := hello.Conn.(*peerConn)
	if !ok {
		return nil, errors.New("cannot tell whose connection this is")
	}
	config := s.verifying(conn)
	config.NextProtos = protocols
	// A ticket is sent when the peer is admitted, and forwarders wait for
	// it; nothing is in it. A resumed session would carry yesterday's
	// verdict over a change of the bundle, and connections are kept anyway.
	config.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return []byte("admitted"), nil }
	config.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
	// Small first records are for browsers; here they cost LISTs.
	config.DynamicRecordSizingDisabled = true
	return config, nil
}

// greetingOf is configFor on a unix socket, where what is encrypted ends with the word
// that the peer is admitted.
func (s *Server) greetingOf(conn *peerConn) *tls.Config {
	config := s.verifying(conn)
	config.NextProtos = []string{"http/1.1"}
	config.SessionTicketsDisabled = true
	return config
}

func (s *Server) verifying(conn *peerConn) *tls.Config {
	c := s.credentials.Load()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.serving},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.ca,
		VerifyConnection: func(state tls.ConnectionState) error {
			return s.admit(conn, state)
		},
	}
}

func (s *Server) admit(conn *peerConn, state tls.ConnectionState) error {
	peer, err := identity.PeerOf(state.PeerCertificates[0])
	if err != nil {
		return err
	}
	if !s.config.Admit(peer) {
		return fmt.Errorf("peer %s may not connect here", peer)
	}
	conn.settle(peer, state.VerifiedChains)
	// Reload looks at those that have settled, after it has put the new bundle in place.
	if !credentials.Vouches(s.credentials.Load().ca, state.VerifiedChains[0]) {
		return errors.New("the CA of the peer is not trusted any more")
	}
	if !s.welcome(conn, state.NegotiatedProtocol) {
		return errors.New("the server is stopping")
	}
	return nil
}

// noSessions makes a client ask for the ticket and forget it.
type noSessions struct{}

func (noSessions) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noSessions) Put(string, *tls.ClientSessionState)        {}
