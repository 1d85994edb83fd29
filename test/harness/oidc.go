package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gopkg.in/go-jose/go-jose.v2"
	"gopkg.in/go-jose/go-jose.v2/jwt"
)

// Issuer is an OpenID Connect provider with one key. It only knows how to be
// discovered: tests sign its tokens themselves.
type Issuer struct {
	// URL is what its tokens name as their issuer.
	URL string
	// CA has signed its serving certificate.
	CA *Pair

	key crypto.Signer
}

// issuerKeyID names the key in tokens, as providers do.
const issuerKeyID = "the-only-one"

// StartIssuer starts a provider on loopback that lives as long as the test.
func StartIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{
		CA:  Must(NewCA("issuer"))(t),
		key: Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, map[string]any{
			"issuer":                                i.URL,
			"jwks_uri":                              i.URL + "/keys",
			"authorization_endpoint":                i.URL + "/authorize",
			"token_endpoint":                        i.URL + "/token",
			"response_types_supported":              []string{"id_token"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: i.key.Public(), KeyID: issuerKeyID, Algorithm: string(jose.ES256), Use: "sig"},
		}})
	})
	i.URL = serveTLS(t, i.CA, mux)
	return i
}

// Sign returns a token with these claims, which Sign completes by the issuer and
// an hour to live unless they say otherwise.
func (i *Issuer) Sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	whole := map[string]any{"iss": i.URL, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		whole[name] = value
	}
	return Must(SignToken(i.key, issuerKeyID, whole))(t)
}

// SignToken signs claims by a P-256 key. keyID may be empty.
func SignToken(key crypto.Signer, keyID string, claims any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID},
	}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).CompactSerialize()
}

// serveTLS serves handler on loopback as long as the test lives, and returns the
// URL.
func serveTLS(t testing.TB, ca *Pair, handler http.Handler) string {
	t.Helper()
	serving := Must(ca.Issue(Leaf{CommonName: "127.0.0.1", Hosts: []string{"127.0.0.1"}, Usage: serverUsage}))(t)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serving.TLS()}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func answerJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}
