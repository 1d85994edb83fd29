package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
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
	lifetime, early := e.lifetimeOf(spec)
	cert, err := ca.sign(spec, key.Public(), e.time.Add(-early), e.time.Add(lifetime))
	if err != nil {
		return err
	}
	e.expires(ca, spec, cert)
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
		e.expires(ca, spec, chain[0])
		return nil
	case ca.key == nil:
		return e.toleratedUnfit(ca, spec, files, chain, reason)
	default:
		return e.renew(ca, spec, files, key, chain, reason)
	}
}

// lifetimeOf is how long a leaf is to be good for, and how long before its making it begins.
func (e *ensurer) lifetimeOf(spec leafSpec) (lifetime, early time.Duration) {
	if spec.short {
		return e.validity(), min(backdate, e.validity()/10)
	}
	return leafLifetime, backdate
}

// renewAt is with how much left a leaf is renewed.
func (e *ensurer) renewAt(spec leafSpec) time.Duration {
	if spec.short {
		return e.validity() / 3
	}
	return renewBefore
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
	case left < e.renewAt(spec) && leaf.NotAfter.Before(ca.cert.NotAfter):
		return "it expires on " + date(leaf.NotAfter)
	case spec.short && ca.key != nil && leaf.CheckSignatureFrom(ca.cert) != nil && len(chain) == 1:
		return "another CA signs now"
	case spec.short && ca.key != nil && lifetime(leaf) > e.validity()+backdate:
		return "it is good for longer than " + e.validity().String()
	case e.force != nil && e.force(spec.name):
		return "it was asked for"
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
	e.expires(ca, spec, chain[0])
	e.report.warn("%s should be signed again by its CA: %s", files.Cert, reason)
	return nil
}

// renew signs again. What another CA signed may be the user's own work, so it
// is kept beside.
func (e *ensurer) renew(ca *authority, spec leafSpec, files wiring.KeyPair, key crypto.Signer, chain []*x509.Certificate, reason string) error {
	if !ca.signed(chain) && !spec.short {
		if err := keep(files.Cert); err != nil {
			return err
		}
		reason += "; the old one is kept as " + files.Cert + keptSuffix
	}
	e.report.Renewed = append(e.report.Renewed, Renewal{files.Cert, reason})
	if spec.name == apiserverName && ca.signed(chain) {
		spec.names = spec.names.with(chain[0])
	}
	if !spec.freshKey {
		return e.issue(ca, spec, files.Cert, key)
	}
	// A key without a certificate is one that waits for it: see createLeaf.
	if err := os.Remove(files.Cert); err != nil {
		return fmt.Errorf("cannot replace %s: %w", files.Cert, err)
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(files.Key, key); err != nil {
		return err
	}
	return e.issue(ca, spec, files.Cert, key)
}

// with adds the names that a certificate has: clients may know the secure port by names that only who
// made the first one knew.
func (n names) with(c *x509.Certificate) names {
	for _, name := range c.DNSNames {
		if !slices.Contains(n.dns, name) {
			n.dns = append(n.dns, name)
		}
	}
	for _, ip := range c.IPAddresses {
		if !slices.ContainsFunc(n.ips, ip.Equal) {
			n.ips = append(n.ips, ip)
		}
	}
	return n
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

func (e *ensurer) expires(ca *authority, spec leafSpec, leaf *x509.Certificate) {
	if e.report.Expires.IsZero() || leaf.NotAfter.Before(e.report.Expires) {
		e.report.Expires = leaf.NotAfter
	}
	due := leaf.NotAfter.Add(-e.renewAt(spec))
	if ca.key == nil || !leaf.NotAfter.Before(ca.cert.NotAfter) {
		return // another one would end no later
	}
	if e.report.Due.IsZero() || due.Before(e.report.Due) {
		e.report.Due = due
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
