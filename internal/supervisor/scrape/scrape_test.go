package scrape

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestOnlyWhoMayMonitorIsAnswered(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		if err := os.WriteFile(token, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	of := func(groups ...string) [][]*x509.Certificate {
		return [][]*x509.Certificate{{{Subject: pkix.Name{Organization: groups}}}}
	}
	for _, c := range []struct {
		name, content, bearer string
		chains                [][]*x509.Certificate
		want                  int
	}{
		{"nobody", "secret\n", "", nil, http.StatusUnauthorized},
		{"the token", "secret\n", "secret", nil, http.StatusOK},
		{"another token", "secret\n", "secre", nil, http.StatusUnauthorized},
		{"no token in an empty file", "\n", "", nil, http.StatusUnauthorized},
		{"an empty token in an empty file", "", " ", nil, http.StatusUnauthorized},
		{"an administrator", "", "", of("system:masters"), http.StatusOK},
		{"a monitor", "", "", of("a", "system:monitoring"), http.StatusOK},
		{"a user", "", "", of("system:authenticated"), http.StatusForbidden},
		{"an administrator with a wrong token", "secret", "wrong", of("system:masters"), http.StatusUnauthorized},
	} {
		write(c.content)
		s := &Server{config: Config{TokenFile: token}}
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.TLS = &tls.ConnectionState{VerifiedChains: c.chains}
		if c.bearer != "" {
			r.Header.Set("Authorization", "Bearer "+c.bearer)
		}
		if code, why := s.judge(r); code != c.want || (why == "") != (code == http.StatusOK) {
			t.Errorf("%s: %d (%s), want %d", c.name, code, why, c.want)
		}
	}
}
