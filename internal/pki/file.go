package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"syscall"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"triptych.dev/triptych/internal/datadir"
)

const (
	keyMode  = 0o600
	certMode = 0o644
)

// readCerts reads the certificates of a PEM file, of which there is at least
// one.
func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	certs, err := certutil.ParseCertsPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s holds no valid certificate: %w: put a PEM certificate there", path, err)
	}
	return certs, nil
}

// readKey reads a PEM private key, ECDSA or RSA.
func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s holds no valid private key: %w: put an ECDSA or RSA key there, PEM and not encrypted", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds a key that cannot sign: put an ECDSA or RSA key there", path)
	}
	return signer, nil
}

// readPublicKeys reads the PEM public keys, or the public halves of the private
// keys, in a file.
func readPublicKeys(path string) ([]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(err)
	}
	keys, err := keyutil.ParsePublicKeysPEM(data)
	if err != nil {
		return nil, fmt.Errorf("%s holds no valid public key: %w: put a PEM public key there", path, err)
	}
	return keys, nil
}

// unreadable adds the remedy; err names the file.
func unreadable(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("cannot %w: make it readable for user %d", err, os.Geteuid())
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("cannot %w: put a PEM file in its place", err)
	default:
		return fmt.Errorf("cannot %w", err)
	}
}

func writeCert(path string, cert *x509.Certificate) error {
	data, err := certutil.EncodeCertificates(cert)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, data, certMode)
}

func writeKey(path string, key crypto.Signer) error {
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	defer clear(data)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, data, keyMode)
}

func writePublicKey(path string, key crypto.PublicKey) error {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: keyutil.PublicKeyBlockType, Bytes: der})
	return datadir.WriteFile(path, data, certMode)
}

// sameKey tells whether two public keys are one.
func sameKey(a, b any) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
