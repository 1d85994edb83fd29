package authentication

import (
	"crypto/tls"
	stdx509 "crypto/x509"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/utils/lru"
)

// maxVerified bounds the connections of which is kept that their certificate is good.
// One that is forgotten costs a verification more.
const maxVerified = 8192

// certificates authenticates by client certificate, with upstream's authenticator. Of a
// connection whose certificate was verified the signatures are not verified again: the
// connection has proved once that it holds the key, and a certificate does not change.
// What may change is looked at for every request: the CA bundle, and whether it is still
// time. Bad certificates are verified each time.
type certificates struct {
	options func() (stdx509.VerifyOptions, bool)
	// verified are by *tls.ConnectionState, of which each connection has one.
	verified *lru.Cache
}

// verdictOfChain says what a certificate was verified with, and how long that is good for.
type verdictOfChain struct {
	roots *stdx509.CertPool
	until time.Time
	// again is upstream's authenticator without the signatures. It observes what
	// upstream observes, and refuses a leaf that has expired.
	again authenticator.Request
}

// newCertificates returns what authenticates by the CAs of options, as
// x509.NewDynamic does.
func newCertificates(options func() (stdx509.VerifyOptions, bool)) *certificates {
	return &certificates{options: options, verified: lru.New(maxVerified)}
}

// AuthenticateRequest implements authenticator.Request.
func (c *certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	options, ok := c.options()
	if !ok || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	var chain []*stdx509.Certificate
	whole := x509.New(options, x509.UserConversionFunc(func(verified []*stdx509.Certificate) (*authenticator.Response, bool, error) {
		chain = verified
		return x509.CommonNameUserConversion.User(verified)
	}))
	response, ok, err := whole.AuthenticateRequest(r)
	if ok && err == nil {
		c.keep(r.TLS, options, chain)
	}
	return response, ok, err
}

func (c *certificates) keep(conn *tls.ConnectionState, options stdx509.VerifyOptions, chain []*stdx509.Certificate) {
	v := &verdictOfChain{roots: options.Roots, until: chain[0].NotAfter}
	for _, cert := range chain {
		if cert.NotAfter.Before(v.until) {
			v.until = cert.NotAfter
		}
	}
	// To crypto/x509 a leaf among the roots needs no signature.
	options.Roots = stdx509.NewCertPool()
	options.Roots.AddCert(chain[0])
	v.again = x509.New(options, x509.CommonNameUserConversion)
	c.verified.Add(conn, v)
}

// known authenticates requests on connections whose certificate was verified, and says
// nothing of others.
func (c *certificates) known(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil {
		return nil, false, nil
	}
	kept, ok := c.verified.Get(r.TLS)
	if !ok {
		return nil, false, nil
	}
	v := kept.(*verdictOfChain)
	if options, ok := c.options(); !ok || options.Roots != v.roots || !time.Now().Before(v.until) {
		c.verified.Remove(r.TLS)
		return nil, false, nil
	}
	return v.again.AuthenticateRequest(r)
}

// unlessProxied keeps requests from next that a front proxy may have made: whom they are
// from is in their headers.
func unlessProxied(names func() []string, next authenticator.RequestFunc) authenticator.RequestFunc {
	return func(r *http.Request) (*authenticator.Response, bool, error) {
		for _, name := range names() {
			if r.Header.Get(name) != "" {
				return nil, false, nil
			}
		}
		return next(r)
	}
}
