package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// workload is one kind of request.
type workload struct {
	name string
	// request is the nth one: method, path, body.
	request func(n int64) (method, path, body string)
	// headers are pairs of name and value.
	headers []string
	// token: a bearer token instead of a certificate.
	token bool
	// code is what every answer must have.
	code int
	// counter numbers the requests to a server; nil: any number does.
	counter func(s *server) *int64
	// before makes what the nth request takes away, and has been sent for all n up to
	// its counter.
	before *workload
	// own is a field that tells how often something was written.
	own string
}

// next is the number of the next request, if there is something left to do.
func (w workload) next(s *server) (n int64, some bool) {
	if w.counter == nil {
		return changes.Add(1), true
	}
	n = atomic.AddInt64(w.counter(s), 1)
	return n, w.before == nil || n <= atomic.LoadInt64(w.before.counter(s))
}

// changes counts up, so that no patch is without effect.
var changes atomic.Int64

func always(method, path string) func(int64) (string, string, string) {
	return func(int64) (string, string, string) { return method, path, "" }
}

func inLists(path string) string {
	return strings.Replace(path, "/"+space+"/", "/"+space+"-lists/", 1) + "?resourceVersion=0"
}

var create = workload{name: "create", headers: []string{"Content-Type", "application/json"}, code: 201, counter: func(s *server) *int64 { return &s.made },
	request: func(n int64) (string, string, string) {
		return http.MethodPost, secrets, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s-%d"}, "stringData": {"filler": "%s"}}`, n, filler)
	}}

// Each that changes an object has its own: what others read stays the same.
var workloads = []workload{
	{name: "get", request: always(http.MethodGet, configs+"/one?resourceVersion=0"), code: 200},
	{name: "get with a token", request: always(http.MethodGet, configs+"/one?resourceVersion=0"), token: true, code: 200},
	{name: "quorum get", request: always(http.MethodGet, configs+"/one"), code: 200},
	{name: "get a custom resource", request: always(http.MethodGet, gadgets+"/one?resourceVersion=0"), code: 200},
	{name: "list 500", request: always(http.MethodGet, inLists(configs)), code: 200},
	{name: "list 500 custom resources", request: always(http.MethodGet, inLists(gadgets)), code: 200},
	{name: "patch", headers: []string{"Content-Type", "application/merge-patch+json"}, code: 200, request: func(n int64) (string, string, string) {
		return http.MethodPatch, configs + "/changing", fmt.Sprintf(`{"data": {"n": "%d"}}`, n)
	}},
	{name: "apply", headers: []string{"Content-Type", "application/apply-patch+yaml"}, code: 200, request: func(n int64) (string, string, string) {
		body := fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"n": "%d"}}`, n)
		return http.MethodPatch, configs + "/applied?fieldManager=bench&force=true", body
	}},
	{name: "apply a custom resource", headers: []string{"Content-Type", "application/apply-patch+yaml"}, own: "generation", code: 200,
		request: func(n int64) (string, string, string) {
			body := fmt.Sprintf(`{"apiVersion": "%s/v1", "kind": "Gadget", "metadata": {"name": "changing"}, "spec": {"size": %d}}`, group, n)
			return http.MethodPatch, gadgets + "/changing?fieldManager=bench&force=true", body
		}},
	create,
	{name: "delete", before: &create, code: 200, counter: func(s *server) *int64 { return &s.gone }, request: func(n int64) (string, string, string) {
		return http.MethodDelete, fmt.Sprintf("%s/s-%d", secrets, n), ""
	}},
	{name: "aggregated discovery", request: always(http.MethodGet, "/apis"), headers: []string{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}, code: 200},
	{name: "404", request: always(http.MethodGet, "/apis/absent.example.com/v1/things"), code: 404},
	{name: "OpenAPI v3 of apps/v1", request: always(http.MethodGet, "/openapi/v3/apis/apps/v1"), code: 200},
	{name: "OpenAPI v2", request: always(http.MethodGet, "/openapi/v2"), code: 200},
}
