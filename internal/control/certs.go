package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"triptych.dev/triptych/internal/pki"
)

// Certificates returns all certificates that the supervisor knows.
func (c *Client) Certificates(ctx context.Context) ([]pki.Certificate, error) {
	var all []pki.Certificate
	return all, c.call(ctx, http.MethodGet, "/v1/certs", nil, &all)
}

// RenewCertificates has the named certificates, or all, signed anew, and returns the names of what was when all
// processes go by it.
func (c *Client) RenewCertificates(ctx context.Context, names []string, all bool) ([]string, error) {
	query := url.Values{"name": names}
	if all {
		query.Set("all", "true")
	}
	done := Renewed{}
	err := c.call(ctx, http.MethodPost, "/v1/certs/renew", query, &done)
	return done.Names, err
}

// RotateCA has the internal CA be replaced.
func (c *Client) RotateCA(ctx context.Context, r CARotation) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.send(ctx, http.MethodPost, "/v1/certs/rotate-ca", nil, bytes.NewReader(body), nil)
}

func certificates(mux *http.ServeMux, s Supervisor) {
	mux.HandleFunc("GET /v1/certs", func(w http.ResponseWriter, _ *http.Request) {
		all, err := s.Certificates()
		tell(w, all, err)
	})
	mux.HandleFunc("POST /v1/certs/renew", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		names, err := s.RenewCertificates(r.Context(), query["name"], query.Get("all") == "true")
		tell(w, Renewed{Names: names}, err)
	})
	mux.HandleFunc("POST /v1/certs/rotate-ca", func(w http.ResponseWriter, r *http.Request) {
		var asked CARotation
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			answer(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
		confirm(w, s.RotateCA(r.Context(), asked))
	})
}
