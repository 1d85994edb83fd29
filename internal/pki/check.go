package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	certutil "k8s.io/client-go/util/cert"

	"triptych.dev/triptych/internal/wiring"
)

// loadPair reads a certificate chain and its key, and checks that they belong
// together.
func (e *ensurer) loadPair(files wiring.KeyPair) ([]*x509.Certificate, crypto.Signer, error) {
	chain, err := readCerts(files.Cert)
	if err != nil {
		return nil, nil, err
	}
	key, err := e.loadKey(files.Key)
	if err != nil {
		return nil, nil, err
	}
	if !sameKey(chain[0].PublicKey, key.Public()) {
		return nil, nil, fmt.Errorf("%s does not belong to %s: put the key of that certificate there, "+
			"or remove both files if you did not make them, to have them made again", files.Key, files.Cert)
	}
	return chain, key, nil
}

// loadKey reads a private key and warns if others can read it, too.
func (e *ensurer) loadKey(path string) (crypto.Signer, error) {
	key, err := readKey(path)
	if err != nil {
		return nil, err
	}
	e.warnOfReaders(path)
	return key, nil
}

func (e *ensurer) warnOfReaders(path string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		e.report.warn("others than its owner can read the key %s: run `chmod 600 %s`", path, path)
	}
}

// checkBegun finds a clock that is wrong, now or when the certificate was made.
func (e *ensurer) checkBegun(path string, c *x509.Certificate) error {
	if !e.time.Before(c.NotBefore) {
		return nil
	}
	return fmt.Errorf("%s is valid from %s on, but the clock says %s: set the clock; if it is right, "+
		"the certificate was made with a wrong one: remove it to have it made again",
		path, date(c.NotBefore), date(e.time))
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: c.Raw})
}
