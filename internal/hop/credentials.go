package hop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"triptych.dev/triptych/internal/identity"
)

// credentials are the files of a ServerConfig as they were read at one time.
type credentials struct {
	ca      *x509.CertPool
	serving tls.Certificate
}

// Reload reads the files again. New connections use them. An established
// connection whose peer the new bundle no longer vouches for is closed, in the
// middle of a request if need be; the others stay. When the files are unusable
// everything stays as it was.
func (s *Server) Reload() error {
	if err := s.load(); err != nil {
		return err
	}
	s.peers.verify(s.credentials.Load().ca)
	return nil
}

func (s *Server) load() error {
	bundle, err := os.ReadFile(s.config.CAFile)
	if err != nil {
		return fmt.Errorf("cannot read the internal CA: %w", err)
	}
	c := &credentials{ca: x509.NewCertPool()}
	if !c.ca.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("cannot use the internal CA: no certificate in %s", s.config.CAFile)
	}
	if c.serving, err = tls.LoadX509KeyPair(s.config.CertFile, s.config.KeyFile); err != nil {
		return fmt.Errorf("cannot load the hop's serving certificate: %w", err)
	}
	s.credentials.Store(c)
	return nil
}

func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
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
	c := s.credentials.Load()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.serving},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    c.ca,
		NextProtos:   []string{"h2", "http/1.1"},
		VerifyConnection: func(state tls.ConnectionState) error {
			return s.admit(conn, state)
		},
		// A ticket is sent when the peer is admitted, and forwarders wait for
		// it; nothing is in it. A resumed session would carry yesterday's
		// verdict over a change of the bundle, and connections are kept anyway.
		WrapSession:   func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return []byte("admitted"), nil },
		UnwrapSession: func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil },
		// Small first records are for browsers; here they cost LISTs.
		DynamicRecordSizingDisabled: true,
	}, nil
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
	if !s.welcome(conn, state.NegotiatedProtocol) {
		return errors.New("the server is stopping")
	}
	return nil
}

// noSessions makes a client ask for the ticket and forget it.
type noSessions struct{}

func (noSessions) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noSessions) Put(string, *tls.ClientSessionState)        {}
