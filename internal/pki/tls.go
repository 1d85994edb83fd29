package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/wiring"
)

// ClientTLS is for calls to a server whose certificate caFile signed for
// serverName, as the holder of certFile and keyFile. It stays what the files hold now; see Credentials.
func ClientTLS(caFile, certFile, keyFile, serverName string) (*tls.Config, error) {
	bundle, err := readCerts(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, c := range bundle {
		roots.AddCert(c)
	}
	cert, err := credentials.KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot load the certificate %s and its key: %w", certFile, err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      roots,
		Certificates: []tls.Certificate{cert},
		ServerName:   serverName,
	}, nil
}

// Credentials are those of the holder of a key pair, who believes the CA in a file; they can be loaded again.
func Credentials(caFile string, pair wiring.KeyPair) (*credentials.Credentials, error) {
	return credentials.Load(credentials.Files{CA: caFile, Cert: pair.Cert, Key: pair.Key})
}
