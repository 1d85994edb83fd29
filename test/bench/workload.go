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
	// request is the next one: method, path, body.
	request func(s *server) (method, path, body string)
	// headers are pairs of name and value.
	headers []string
	// token: a bearer token instead of a certificate.
	token bool
	// code is what every answer must have.
	code int
}

func always(method, path, body string) func(*server) (string, string, string) {
	return func(*server) (string, string, string) { return method, path, body }
}

func inLists(path string) string {
	return strings.Replace(path, "/"+space+"/", "/"+space+"-lists/", 1) + "?resourceVersion=0"
}

// changes counts up, so that no patch is without effect.
var changes atomic.Int64

var workloads = []workload{
	{name: "get", request: always(http.MethodGet, configs+"/one?resourceVersion=0", ""), code: 200},
	{name: "get with a token", request: always(http.MethodGet, configs+"/one?resourceVersion=0", ""), token: true, code: 200},
	{name: "quorum get", request: always(http.MethodGet, configs+"/one", ""), code: 200},
	{name: "get a custom resource", request: always(http.MethodGet, gadgets+"/one?resourceVersion=0", ""), code: 200},
	{name: "list 500", request: always(http.MethodGet, inLists(configs), ""), code: 200},
	{name: "list 500 custom resources", request: always(http.MethodGet, inLists(gadgets), ""), code: 200},
	{name: "patch", headers: []string{"Content-Type", "application/merge-patch+json"}, code: 200, request: func(*server) (string, string, string) {
		return http.MethodPatch, configs + "/one", fmt.Sprintf(`{"data": {"n": "%d"}}`, changes.Add(1))
	}},
	{name: "apply a custom resource", headers: []string{"Content-Type", "application/apply-patch+yaml"}, code: 200, request: func(*server) (string, string, string) {
		body := fmt.Sprintf(`{"apiVersion": "%s/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": %d}}`, group, changes.Add(1))
		return http.MethodPatch, gadgets + "/one?fieldManager=bench&force=true", body
	}},
	{name: "create", headers: []string{"Content-Type", "application/json"}, code: 201, request: func(s *server) (string, string, string) {
		return http.MethodPost, secrets, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s-%d"}, "stringData": {"filler": "%s"}}`, atomic.AddInt64(&s.made, 1), filler)
	}},
	{name: "delete", code: 200, request: func(s *server) (string, string, string) {
		if n := atomic.AddInt64(&s.gone, 1); n <= atomic.LoadInt64(&s.made) {
			return http.MethodDelete, fmt.Sprintf("%s/s-%d", secrets, n), ""
		}
		return "", "", "" // all are gone
	}},
	{name: "aggregated discovery", request: always(http.MethodGet, "/apis", ""), headers: []string{"Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}, code: 200},
	{name: "404", request: always(http.MethodGet, "/apis/absent.example.com/v1/things", ""), code: 404},
	{name: "OpenAPI v3 of apps/v1", request: always(http.MethodGet, "/openapi/v3/apis/apps/v1", ""), code: 200},
	{name: "OpenAPI v2", request: always(http.MethodGet, "/openapi/v2", ""), code: 200},
}
