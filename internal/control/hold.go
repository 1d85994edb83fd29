package control

import (
	"context"
	"net/http"
	"net/url"
)

// StopTier has the processes of a tier, or one replica, stopped until StartTier, and returns when they are gone.
func (c *Client) StopTier(ctx context.Context, name string) ([]Standing, error) {
	return c.stand(ctx, "/v1/tiers/stop", name)
}

// StartTier has what StopTier stopped started again, and returns when it is ready.
func (c *Client) StartTier(ctx context.Context, name string) ([]Standing, error) {
	return c.stand(ctx, "/v1/tiers/start", name)
}

func (c *Client) stand(ctx context.Context, path, name string) (all []Standing, err error) {
	return all, c.call(ctx, http.MethodPost, path, url.Values{"name": {name}}, &all)
}

func stand(f func(context.Context, string) ([]Standing, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		all, err := f(r.Context(), r.URL.Query().Get("name"))
		tell(w, all, err)
	}
}
