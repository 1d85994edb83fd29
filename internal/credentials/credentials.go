// Package credentials is what a process shows to others and whom of them it believes: a key pair and a CA
// bundle in files that are replaced while it runs. Configurations made of them go by what was loaded last, at
// each handshake. Connections that were made before are for their owners to leave.
package credentials

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Files are paths of PEM files.
type Files struct {
	// CA is the bundle of those who may sign for others.
	CA string
	// Cert is our certificate, with its intermediates, and Key its key.
	Cert, Key string
}

// Credentials are the content of Files. All methods may be called from any goroutine.
type Credentials struct {
	files Files
	now   atomic.Pointer[Material]
	count atomic.Int64
}

// Material is what the files held at one time. It is never changed.
type Material struct {
	// Roots are the CAs of the bundle, Bundle their PEM.
	Roots  *x509.CertPool
	Bundle []byte
	// Pair is our certificate and key; its Leaf is set.
	Pair tls.Certificate
}

// patience is how long Load waits for a pair of which one file is replaced and the other one is about to be.
const patience, pause = 2 * time.Second, 10 * time.Millisecond

// Load reads the files. It fails when one of them is missing or does not hold what it should.
func Load(f Files) (*Credentials, error) {
	c := &Credentials{files: f}
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		_, err := c.Reload()
		if err == nil {
			return c, nil
		}
		if !errors.As(err, new(pairError)) || time.Now().After(end) {
			return nil, err
		}
	}
}

// pairError tells of a certificate and a key that do not go together.
type pairError struct{ error }

// Reload reads the files again, and tells whether they hold something else than before. When they are
// unusable everything stays as it was.
func (c *Credentials) Reload() (changed bool, err error) {
	bundle, err := os.ReadFile(c.files.CA)
	if err != nil {
		return false, fmt.Errorf("cannot read the CA: %w", err)
	}
	next := &Material{Roots: x509.NewCertPool(), Bundle: bundle}
	if !next.Roots.AppendCertsFromPEM(bundle) {
		return false, fmt.Errorf("cannot use the CA: %s holds no certificate", c.files.CA)
	}
	if next.Pair, err = KeyPair(c.files.Cert, c.files.Key); err != nil {
		return false, pairError{fmt.Errorf("cannot load the certificate %s and its key: %w", c.files.Cert, err)}
	}
	before := c.now.Load()
	if before != nil && bytes.Equal(before.Bundle, bundle) && bytes.Equal(before.Pair.Certificate[0], next.Pair.Certificate[0]) {
		return false, nil
	}
	c.now.Store(next)
	c.count.Add(1)
	return true, nil
}

// Now returns what was loaded last.
func (c *Credentials) Now() *Material { return c.now.Load() }

// Generation is another number after each Reload that changed something.
func (c *Credentials) Generation() int64 { return c.count.Load() }

// Client returns a configuration for calls to a server that the bundle vouches for under serverName, a
// name or an IP address.
func (c *Credentials) Client(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		// The bundle in a Config cannot be replaced: VerifyConnection verifies by the present one.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := verify(c.Now().Roots, state.PeerCertificates, serverName, x509.ExtKeyUsageServerAuth)
			return err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.Now().Pair, nil },
	}
}

// Server returns a configuration for a listener where clients show a certificate of the bundle, or get nowhere.
func (c *Credentials) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := c.Now()
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				NextProtos:   []string{"h2"},
				Certificates: []tls.Certificate{now.Pair},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    now.Roots,
				// A resumed session would carry yesterday's verdict over a change of the bundle.
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

func verify(roots *x509.CertPool, chain []*x509.Certificate, name string, usage x509.ExtKeyUsage) ([][]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("the peer shows no certificate")
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	return chain[0].Verify(o)
}

// Vouches tells whether a client, whose chain has been verified before, is still good under a bundle.
func Vouches(roots *x509.CertPool, chain []*x509.Certificate) bool {
	_, err := verify(roots, chain, "", x509.ExtKeyUsageClientAuth)
	return err == nil
}

// Expiry is when the last of the verified chains that vouch for a peer ends. A chain ends with the first
// certificate in it.
func Expiry(chains [][]*x509.Certificate) time.Time {
	var latest time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(end) {
				end = cert.NotAfter
			}
		}
		if end.After(latest) {
			latest = end
		}
	}
	return latest
}
