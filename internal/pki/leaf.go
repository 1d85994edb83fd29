package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/wiring"
)

// ensureLeaf creates, renews or checks one leaf. The key comes first, is taken
// up where there is one, and is kept on renewal: at every moment the files on
// disk are a pair, or a key that waits for its certificate.
func (e *ensurer) ensureLeaf(ca *authority, spec leafSpec) error {
	files := e.paths.pair(spec.name)
	haveCert, err := exists(files.Cert)
	if err != nil {
		return err
	}
	haveKey, err := exists(files.Key)
	if err != nil {
		return err
	}
	switch {
	case haveCert && !haveKey:
		return fmt.Errorf("%s is missing, the key of %s: put it there, or remove the certificate to have both made",
			files.Key, files.Cert)
	case haveCert:
		return e.checkLeaf(ca, spec, files)
	default:
		return e.createLeaf(ca, spec, files, haveKey)
	}
}

func (e *ensurer) createLeaf(ca *authority, spec leafSpec, files wiring.KeyPair, haveKey bool) error {
	if ca.key == nil {
		return fmt.Errorf("%s is missing and cannot be made without %s: put that key there, "+
			"or have the CA sign the certificate: %s", files.Cert, ca.files.Key, spec)
	}
	key, err := e.ensureKey(files.Key, haveKey)
	if err != nil {
		return err
	}
	e.report.Created = append(e.report.Created, files.Cert)
	return e.issue(ca, spec, files.Cert, key)
}

func (e *ensurer) issue(ca *authority, spec leafSpec, path string, key crypto.Signer) error {
	cert, err := ca.sign(spec, key.Public(), e.time)
	if err != nil {
		return err
	}
	e.expires(cert)
	return writeCert(path, cert)
}

func (e *ensurer) checkLeaf(ca *authority, spec leafSpec, files wiring.KeyPair) error {
	chain, key, err := e.loadPair(files)
	if err != nil {
		return err
	}
	if err := e.checkBegun(files.Cert, chain[0]); err != nil {
		return err
	}
	reason := e.unfit(ca, spec, chain)
	switch {
	case reason == "":
		e.expires(chain[0])
		return nil
	case ca.key == nil:
		return e.toleratedUnfit(ca, spec, files, chain, reason)
	default:
		return e.renew(ca, spec, files, key, chain, reason)
	}
}

// unfit says why the leaf has to be signed again, or "".
func (e *ensurer) unfit(ca *authority, spec leafSpec, chain []*x509.Certificate) string {
	leaf := chain[0]
	left := leaf.NotAfter.Sub(e.time)
	switch {
	case !ca.signed(chain):
		return "it was not signed by " + ca.files.Cert
	case left <= 0:
		return "it expired on " + date(leaf.NotAfter)
	case left < renewBefore && leaf.NotAfter.Before(ca.cert.NotAfter):
		return "it expires on " + date(leaf.NotAfter)
	default:
		return spec.mismatch(leaf)
	}
}

// toleratedUnfit judges a leaf that cannot be renewed, because the CA's key is
// elsewhere: what still works is a warning. Its subject and names are the
// business of whoever signed it.
func (e *ensurer) toleratedUnfit(ca *authority, spec leafSpec, files wiring.KeyPair, chain []*x509.Certificate, reason string) error {
	if !ca.signed(chain) || !chain[0].NotAfter.After(e.time) {
		return fmt.Errorf("%s cannot be used: %s, and there is no %s to renew it with: "+
			"have it signed again: %s", files.Cert, reason, ca.files.Key, spec)
	}
	e.expires(chain[0])
	e.report.warn("%s should be signed again by its CA: %s", files.Cert, reason)
	return nil
}

// renew signs again. What another CA signed may be the user's own work, so it
// is kept beside.
func (e *ensurer) renew(ca *authority, spec leafSpec, files wiring.KeyPair, key crypto.Signer, chain []*x509.Certificate, reason string) error {
	if !ca.signed(chain) {
		if err := keep(files.Cert); err != nil {
			return err
		}
		reason += "; the old one is kept as " + files.Cert + keptSuffix
	}
	e.report.Renewed = append(e.report.Renewed, Renewal{files.Cert, reason})
	return e.issue(ca, spec, files.Cert, key)
}

const keptSuffix = ".old"

func keep(path string) error {
	chain, err := readCerts(path)
	if err != nil {
		return err
	}
	var data []byte
	for _, c := range chain {
		data = append(data, encode(c)...)
	}
	return datadir.WriteFile(path+keptSuffix, data, certMode)
}

func (e *ensurer) expires(leaf *x509.Certificate) {
	if e.report.Expires.IsZero() || leaf.NotAfter.Before(e.report.Expires) {
		e.report.Expires = leaf.NotAfter
	}
}

// mismatch says what the certificate lacks of what is wanted. What it has
// beyond does no harm, except for the names of an identity.
func (l leafSpec) mismatch(c *x509.Certificate) string {
	for _, want := range l.names.dns {
		if !slices.Contains(c.DNSNames, want) {
			return "it lacks the name " + want
		}
	}
	for _, want := range l.names.ips {
		if !slices.ContainsFunc(c.IPAddresses, want.Equal) {
			return "it lacks the address " + want.String()
		}
	}
	if !slices.EqualFunc(c.URIs, l.names.uris, func(a, b *url.URL) bool { return a.String() == b.String() }) {
		return "it names another peer"
	}
	if !slices.Contains(c.ExtKeyUsage, l.usage) {
		return "it is not meant for " + usageName(l.usage)
	}
	if l.usage == x509.ExtKeyUsageClientAuth && !l.sameSubject(c) {
		return "it names another client"
	}
	return ""
}

func (l leafSpec) sameSubject(c *x509.Certificate) bool {
	return c.Subject.CommonName == l.subject.CommonName && slices.Equal(c.Subject.Organization, l.subject.Organization)
}

// String describes the certificate for whoever has to sign it.
func (l leafSpec) String() string {
	parts := []string{usageName(l.usage), "subject " + l.subject.String()}
	for _, name := range l.names.dns {
		parts = append(parts, "DNS:"+name)
	}
	for _, ip := range l.names.ips {
		parts = append(parts, "IP:"+net.IP(ip).String())
	}
	for _, uri := range l.names.uris {
		parts = append(parts, "URI:"+uri.String())
	}
	return strings.Join(parts, ", ")
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageServerAuth {
		return "server authentication"
	}
	return "client authentication"
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
