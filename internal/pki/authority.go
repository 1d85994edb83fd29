package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"triptych.dev/triptych/internal/wiring"
)

// authority is a CA on disk.
type authority struct {
	files wiring.KeyPair
	// bundle is all of ca.crt, of which cert is the one that signs. During a
	// rotation there is more than one.
	bundle []*x509.Certificate
	cert   *x509.Certificate
	// key is nil for an external CA, whose key is elsewhere.
	key crypto.Signer
	// time is the present.
	time time.Time
}

func (e *ensurer) ensureAuthority(spec authoritySpec) (*authority, error) {
	files := e.paths.pair(spec.name)
	haveCert, err := exists(files.Cert)
	if err != nil {
		return nil, err
	}
	haveKey, err := exists(files.Key)
	if err != nil {
		return nil, err
	}
	if !haveCert {
		return e.createAuthority(spec, files, haveKey)
	}
	return e.loadAuthority(files, haveKey)
}

// createAuthority writes the key before the certificate and takes up a key that
// it finds: a start that was cut short in between is continued.
func (e *ensurer) createAuthority(spec authoritySpec, files wiring.KeyPair, haveKey bool) (*authority, error) {
	key, err := e.ensureKey(files.Key, haveKey)
	if err != nil {
		return nil, err
	}
	cert, err := selfSign(spec.commonName, key, e.time)
	if err != nil {
		return nil, err
	}
	if err := writeCert(files.Cert, cert); err != nil {
		return nil, err
	}
	e.report.Created = append(e.report.Created, files.Cert)
	return &authority{files: files, bundle: []*x509.Certificate{cert}, cert: cert, key: key, time: e.time}, nil
}

func (e *ensurer) ensureKey(path string, have bool) (crypto.Signer, error) {
	if have {
		return e.loadKey(path)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if err := writeKey(path, key); err != nil {
		return nil, err
	}
	e.report.Created = append(e.report.Created, path)
	return key, nil
}

func (e *ensurer) loadAuthority(files wiring.KeyPair, haveKey bool) (*authority, error) {
	bundle, err := readCerts(files.Cert)
	if err != nil {
		return nil, err
	}
	ca := &authority{files: files, bundle: bundle, cert: bundle[0], time: e.time}
	if haveKey {
		if err := e.loadSigner(ca); err != nil {
			return nil, err
		}
	}
	if !ca.cert.IsCA || !ca.cert.BasicConstraintsValid {
		return nil, fmt.Errorf("%s is not the certificate of a CA: put one there, or remove it to have one made", files.Cert)
	}
	return ca, e.checkAuthorityDates(ca)
}

func (e *ensurer) loadSigner(ca *authority) error {
	key, err := e.loadKey(ca.files.Key)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(ca.bundle, func(c *x509.Certificate) bool { return sameKey(c.PublicKey, key.Public()) })
	if i < 0 {
		return fmt.Errorf("%s does not belong to %s: put the key of that certificate there, "+
			"or remove the key if the CA's key is kept elsewhere", ca.files.Key, ca.files.Cert)
	}
	ca.cert, ca.key = ca.bundle[i], key
	return nil
}

func (e *ensurer) checkAuthorityDates(ca *authority) error {
	if err := e.checkBegun(ca.files.Cert, ca.cert); err != nil {
		return err
	}
	left := ca.cert.NotAfter.Sub(e.time)
	if left <= 0 {
		return fmt.Errorf("the CA %s expired on %s: put a new CA (.crt and .key) there, or remove both files "+
			"to have one made; whoever trusts the old one needs the new one", ca.files.Cert, date(ca.cert.NotAfter))
	}
	if left < warnCABefore {
		e.report.warn("the CA %s expires on %s, and with it all that it signed: replace it before",
			ca.files.Cert, date(ca.cert.NotAfter))
	}
	return nil
}

// signed tells whether a certificate of the bundle signed the leaf, through
// intermediates that come with the leaf if need be. Whether the leaf itself has
// begun or ended does not matter.
func (ca *authority) signed(chain []*x509.Certificate) bool {
	leaf := chain[0]
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range ca.bundle {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   clamp(ca.time, leaf.NotBefore, leaf.NotAfter),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

func clamp(t, from, to time.Time) time.Time {
	if t.Before(from) {
		return from
	}
	if t.After(to) {
		return to
	}
	return t
}
