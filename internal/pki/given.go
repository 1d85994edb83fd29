package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"time"
)

// GivenPair is a certificate and its key that two flags of the user name.
type GivenPair struct {
	// CertFlag and KeyFlag are names of flags without dashes. They are the same
	// where one flag names both files.
	CertFlag, Cert string
	KeyFlag, Key   string
}

// GivenCAs is a bundle of CAs that a flag of the user names.
type GivenCAs struct {
	Flag, File string
	// ForClients are CAs of clients, among which one that is none is likely a
	// mistake. Whoever calls servers may well trust the certificate of one of them.
	ForClients bool
}

// checkGiven reads what the flags of the user name: a tier would find the same
// mistake later, at its first use perhaps, and without naming the flag.
func (e *ensurer) checkGiven() error {
	pairs := append([]GivenPair{{"tls-cert-file", e.TLSCertFile, "tls-private-key-file", e.TLSKeyFile}}, e.Pairs...)
	for _, p := range pairs {
		if err := e.checkGivenPair(p); err != nil {
			return err
		}
	}
	for _, c := range append([]GivenCAs{{"client-ca-file", e.ClientCAFile, true}}, e.CAs...) {
		if err := e.checkGivenCAs(c); err != nil {
			return err
		}
	}
	return nil
}

func (e *ensurer) checkGivenPair(p GivenPair) error {
	if p.CertFlag == p.KeyFlag && (p.Cert == "" || p.Key == "") {
		return fmt.Errorf("--%s=%s,%s does not name two files: give it a certificate and its key, CERT,KEY", p.CertFlag, p.Cert, p.Key)
	}
	if p.Cert == "" && p.Key == "" {
		return nil
	}
	if p.Cert == "" || p.Key == "" {
		return fmt.Errorf("--%s and --%s go together: give both or none", p.CertFlag, p.KeyFlag)
	}
	chain, err := readCerts(p.Cert)
	if err != nil {
		return fmt.Errorf("--%s: %w", p.CertFlag, err)
	}
	if err := e.checkGivenKey(p); err != nil {
		return fmt.Errorf("--%s: %w", p.KeyFlag, err)
	}
	return e.checkGivenDates(p.CertFlag, p.Cert, chain[0])
}

// checkGivenKey takes every key that TLS takes.
func (e *ensurer) checkGivenKey(p GivenPair) error {
	cert, err := os.ReadFile(p.Cert)
	if err != nil {
		return unreadable(err)
	}
	key, err := os.ReadFile(p.Key)
	if err != nil {
		return unreadable(err)
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		return fmt.Errorf("%s does not belong to %s: %w: give the key of that certificate, PEM and not encrypted", p.Key, p.Cert, err)
	}
	e.warnOfReaders(p.Key)
	return nil
}

func (e *ensurer) checkGivenDates(flag, path string, c *x509.Certificate) error {
	left := c.NotAfter.Sub(e.time)
	switch {
	case e.time.Before(c.NotBefore):
		return fmt.Errorf("%s is valid from %s on, but the clock says %s: set the clock; if it is right, give --%s another certificate",
			path, date(c.NotBefore), date(e.time), flag)
	case left <= 0:
		return fmt.Errorf("%s expired on %s: give --%s a valid certificate; if it is valid, set the clock, which says %s",
			path, date(c.NotAfter), flag, date(e.time))
	case left < min(renewBefore, lifetime(c)/3):
		e.report.warn("%s expires on %s: renew it before", path, date(c.NotAfter))
	}
	return nil
}

// lifetime keeps quiet those whose certificates are short-lived and renewed by
// somebody else.
func lifetime(c *x509.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) }

// checkGivenCAs demands one that is valid now; a bundle may hold others that
// have ended or not begun.
func (e *ensurer) checkGivenCAs(g GivenCAs) error {
	if g.File == "" {
		return nil
	}
	bundle, err := readCerts(g.File)
	if err != nil {
		return fmt.Errorf("--%s: %w", g.Flag, err)
	}
	if g.ForClients && !slices.ContainsFunc(bundle, maySign) {
		e.report.warn("%s holds no CA: --%s lets in only who shows a certificate of that file itself", g.File, g.Flag)
	}
	for _, c := range bundle {
		if !e.time.Before(c.NotBefore) && e.time.Before(c.NotAfter) {
			return nil
		}
	}
	if len(bundle) == 1 && e.time.Before(bundle[0].NotBefore) {
		return e.checkGivenDates(g.Flag, g.File, bundle[0])
	}
	return fmt.Errorf("%s holds no CA that is valid now (%s): give --%s one", g.File, date(e.time), g.Flag)
}

// maySign tells whether TLS takes what c has signed: before version 3 there was
// nothing by which a certificate could say that it is a CA.
func maySign(c *x509.Certificate) bool { return c.IsCA || c.Version < 3 }
