package control

import (
	"context"
	"net/http"
	"net/url"
)

// Drain has a replica taken out, and returns when it is gone.
func (c *Client) Drain(ctx context.Context, replica string) error {
	return c.call(ctx, http.MethodPost, "/v1/drain", url.Values{"name": {replica}}, nil)
}

func drain(s Supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		confirm(w, s.Drain(r.Context(), r.URL.Query().Get("name")))
	}
}
