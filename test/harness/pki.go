package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Pair is a certificate and its key: a CA that signs, or a leaf.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
}

// Leaf is what a test wants in a certificate.
type Leaf struct {
	CommonName   string
	Organization []string
	// Hosts are DNS names and addresses.
	Hosts []string
	URIs  []string
	// Usage is x509.ExtKeyUsageClientAuth, ServerAuth or both.
	Usage []x509.ExtKeyUsage
	// NotBefore is an hour ago if zero, NotAfter ten hours from now.
	NotBefore, NotAfter time.Time
}

// NewCA makes a self-signed CA.
func NewCA(commonName string) (*Pair, error) {
	return sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}, nil)
}

// Issue signs a leaf.
func (ca *Pair) Issue(l Leaf) (*Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.CommonName, Organization: l.Organization},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: l.Usage,
		NotBefore:   l.NotBefore,
		NotAfter:    l.NotAfter,
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	for _, raw := range l.URIs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, err
		}
		template.URIs = append(template.URIs, u)
	}
	return sign(template, ca)
}

// sign completes template and signs it by ca, or by itself if that is nil.
func sign(template *x509.Certificate, ca *Pair) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, err
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(10 * time.Hour)
	}
	if ca == nil {
		ca = &Pair{Cert: template, Key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.Key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Pair{Cert: cert, Key: key}, err
}

// LoadPair reads a certificate and its key.
func LoadPair(certFile, keyFile string) (*Pair, error) {
	loaded, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	signer, ok := loaded.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s does not sign", keyFile)
	}
	return &Pair{Cert: loaded.Leaf, Key: signer}, nil
}

// CertPEM returns the certificate as PEM.
func (p *Pair) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw})
}

// KeyPEM returns the key as PEM.
func (p *Pair) KeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TLS returns the pair for crypto/tls.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

// Pool returns a pool of the certificate alone.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert)
	return pool
}

// Write stores the pair as base.crt and base.key.
func (p *Pair) Write(base string) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(base+".crt", p.CertPEM(), 0o600); err != nil {
		return err
	}
	return os.WriteFile(base+".key", p.KeyPEM(), 0o600)
}
