package identity

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// Role is what the holder of a client certificate may do.
type Role string

const (
	// Delegation may speak for others, and only for others: a call of it that
	// carries no identity is refused.
	Delegation Role = "delegation"
	// Self speaks for the tier itself as a fixed user: an identity it carries
	// is ignored.
	Self Role = "self"
)

// Supervisor is the name of the parent of all tiers in certificates. It is not
// a tier, and no listener takes its certificates for a tier's.
const Supervisor tier.Name = "supervisor"

// Peer is who holds an internal certificate.
type Peer struct {
	Name tier.Name
	Role Role
}

const scheme = "triptych"

// URI is the SAN URI of the peer's client certificate: triptych://core/self.
func (p Peer) URI() *url.URL {
	return &url.URL{Scheme: scheme, Host: string(p.Name), Path: "/" + string(p.Role)}
}

// String returns "core/self", for logs.
func (p Peer) String() string { return string(p.Name) + "/" + string(p.Role) }

// ServerName is the SAN DNS name of the serving certificate of a tier. Callers
// verify it, so that a process which squats on a freed port is found out.
func ServerName(name tier.Name) string { return string(name) + ".tier.triptych.internal" }

// PeerOf reads the peer from a client certificate that was verified against
// the internal CA. It demands exactly one SAN URI.
func PeerOf(cert *x509.Certificate) (Peer, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != scheme {
		return Peer{}, fmt.Errorf("certificate %q names no peer", cert.Subject.CommonName)
	}
	u := cert.URIs[0]
	return Peer{Name: tier.Name(u.Host), Role: Role(strings.TrimPrefix(u.Path, "/"))}, nil
}
