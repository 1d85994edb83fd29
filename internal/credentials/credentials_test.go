package credentials

import (
	"crypto/x509"
	"testing"
	"time"
)

func TestTheLastChainCounts(t *testing.T) {
	at := func(n int64) *x509.Certificate { return &x509.Certificate{NotAfter: time.Unix(n, 0)} }
	chains := [][]*x509.Certificate{{at(5), at(3), at(9)}, {at(5), at(4)}, {at(2)}}
	if got := Expiry(chains); got != time.Unix(4, 0) {
		t.Errorf("got %v", got)
	}
}
