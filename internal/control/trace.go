package control

import (
	"context"
	"net/http"
	"net/url"
)

// Trace is who serves a path, and how long a GET of it takes there.
type Trace struct {
	Path string `json:"path"`
	// Tier is the one that serves it, Rule why.
	Tier string `json:"tier"`
	Rule string `json:"rule"`
	// Behind is the Service of an API server behind the head, NAMESPACE/NAME, or empty.
	Behind string `json:"behind,omitempty"`
	// Hops are the processes on the way, the head first. Each is asked by itself, so that one takes about
	// as much longer than the next as it adds.
	Hops []TraceHop `json:"hops"`
}

// TraceHop is what one process answers.
type TraceHop struct {
	Process string `json:"process"`
	Address string `json:"address"`
	// Code is the status of the answer, 0 if there was none.
	Code int `json:"code,omitempty"`
	// ConnectSeconds are for the first connection with its TLS, FirstByteSeconds and Seconds of the
	// median of some requests on it: to the first byte of the answer, and to the last.
	ConnectSeconds   float64 `json:"connectSeconds"`
	FirstByteSeconds float64 `json:"firstByteSeconds"`
	Seconds          float64 `json:"seconds"`
	Bytes            int64   `json:"bytes"`
	Problem          string  `json:"problem,omitempty"`
}

// Trace tells who serves path.
func (c *Client) Trace(ctx context.Context, path string) (*Trace, error) {
	done := &Trace{}
	return done, c.call(ctx, http.MethodGet, "/v1/trace", url.Values{"path": {path}}, done)
}

func trace(s Supervisor) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		done, err := s.Trace(r.Context(), r.URL.Query().Get("path"))
		tell(w, done, err)
	}
}
