package router

import (
	"net/http"
	"sync/atomic"

	"triptych.dev/triptych/internal/tier"
)

// Router hands each request to the handler of the tier that serves it.
type Router struct {
	table    atomic.Pointer[Table]
	handlers map[tier.Name]http.Handler
}

// New returns a router with a handler for each tier that a table may name.
func New(table *Table, handlers map[tier.Name]http.Handler) *Router {
	r := &Router{handlers: handlers}
	r.table.Store(table)
	return r
}

// Set replaces the table, for requests that come from now on.
func (r *Router) Set(table *Table) { r.table.Store(table) }

// Owner returns the tier that serves path now.
func (r *Router) Owner(path string) tier.Name { return r.table.Load().Owner(path) }

// ServeHTTP implements http.Handler.
func (r *Router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.handlers[r.Owner(req.URL.Path)].ServeHTTP(w, req)
}
