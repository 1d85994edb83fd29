package credentials

import (
	"crypto/tls"
	"os"
)

// KeyPair is tls.LoadX509KeyPair that leaves no second copy of the key behind: what it read of the file is overwritten
// before it returns. The key itself stays in memory for as long as the pair is used, and what crypto/x509 decoded
// on the way until the collector gives that memory to somebody else.
func KeyPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := os.ReadFile(keyFile)
	defer clear(key) // of a file that was read in part, too
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
