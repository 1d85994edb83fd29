// Package invitation hands what the API servers of one cluster have in common (keys,
// CAs, configuration) from a host that has it to a host that joins: once, within a
// time, to whoever holds the token.
//
//	Host.Serve on the first host <---TLS 1.3, the token's certificate and secret--- Accept on the new one
//
// The token is all the trust there is. It names the address, the one certificate that
// may answer there, and a secret that only its holder can show. It travels as the
// administrator chooses, and is worth nothing once it was used.
package invitation

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// prefix makes a token known for what it is, to people and to scanners of secrets.
const prefix = "triptych-join."

// Token is what lets a host join. Whoever reads it can.
type Token struct {
	// Address is the host:port where the invitation is served.
	Address string `json:"address"`
	// Fingerprint is the SHA-256 of the certificate that answers there.
	Fingerprint []byte `json:"fingerprint"`
	// Secret are the 32 bytes that are asked for.
	Secret []byte `json:"secret"`
	// Expires is when it is worth nothing any more.
	Expires time.Time `json:"expires"`
}

// String is how people hand it on.
func (t Token) String() string {
	data, _ := json.Marshal(t)
	return prefix + base64.RawURLEncoding.EncodeToString(data)
}

// ParseToken reads what String wrote.
func ParseToken(s string) (Token, error) {
	t := Token{}
	encoded, ours := strings.CutPrefix(strings.TrimSpace(s), prefix)
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ours || err != nil || json.Unmarshal(data, &t) != nil || t.Address == "" || len(t.Fingerprint) != 32 || len(t.Secret) != 32 {
		return Token{}, errors.New("it is no token of supervisor join-token, or not all of one")
	}
	return t, nil
}
