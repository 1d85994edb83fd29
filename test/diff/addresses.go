package diff

import "slices"

// addresses are about URLs, methods and protocols.
var addresses = []scene{
	{name: "urls", steps: slices.Concat(installed, []step{
		{do: "201 POST " + configMaps.path, body: configMaps.named("c")}, {do: "201 POST " + gadgets.path, body: gadgets.named("g")},
	}, odd("/api/v1/namespaces/${ns}/configmaps/c"), odd("/apis/${group}/v1/namespaces/${ns}/gadgets/g"), []step{
		{do: "404 GET //api/v1/namespaces/${ns}"}, {do: "404 GET /api/v1/../v1/namespaces/${ns}"}, {do: "404 GET /./api"}, {do: "404 GET /apis//${group}/v1"},
		{do: "200 GET /%61pi/v1"}, {do: "200 GET /api%2Fv1"}, {do: "200 GET /apis/${group}%2Fv1"}, {do: "404 GET /API/v1"}, {do: "404 GET /favicon.ico"}, {do: "404 GET /index"},
		{do: "200 GET /version?x=y"}, {do: "404 GET /version/x"}, {do: "404 GET /apis/${group}/v1/namespaces/${ns}/gadgets/g/absent"},
	})},
	{name: "protocols", steps: slices.Concat(installed, []step{
		{do: "200 GET /api/v1/namespaces/${ns}", http1: true, head: []string{"Connection: close"}},
		{do: "200 GET /api/v1/namespaces/${ns}", http1: true, name: "a long header", head: []string{"X-Long: " + string(slices.Repeat([]byte("x"), 4000))}},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Host: api.example.com"}},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Origin: https://browser.example.com"}},
		{do: "204 OPTIONS /api/v1/namespaces/${ns}", head: []string{"Origin: https://browser.example.com", "Access-Control-Request-Method: GET"}},
		{do: "204 OPTIONS " + gadgets.path, head: []string{"Origin: https://browser.example.com", "Access-Control-Request-Method: POST"}},
		{do: "405 OPTIONS /api/v1/namespaces/${ns}", head: []string{"Origin: https://another.example.com", "Access-Control-Request-Method: GET"}},
		{do: "200 GET " + gadgets.path, head: []string{"Origin: https://browser.example.com"}, name: "gadgets for a browser"},
		{do: "403 GET " + gadgets.path, head: []string{"Origin: https://browser.example.com"}, as: "nobody", name: "no gadgets for a browser"},
		{do: "401 GET " + gadgets.path, head: []string{"Origin: https://browser.example.com", "Authorization: Bearer x"}, as: "nobody", name: "a bad token in a browser"},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"If-None-Match: *"}}, {do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Range: bytes=0-1"}},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Accept-Encoding: gzip"}}, {do: "200 GET /apis/rbac.authorization.k8s.io/v1/clusterroles", head: []string{"Accept-Encoding: gzip"}, name: "a packed list"},
		{do: "200 GET " + gadgets.path, head: []string{"Accept-Encoding: gzip"}, name: "a short list of gadgets, packed if long"},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Accept-Encoding: br, deflate"}}, {do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Expect: 100-continue"}, http1: true},
		{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Audit-Id: of-the-client"}}, {do: "200 GET /api/v1/namespaces/${ns}", head: []string{"X-Forwarded-For: 192.0.2.1"}},
		{do: "200 GET " + gadgets.path, head: []string{"X-Http-Method-Override: DELETE"}},
		{do: "200 GET /api/v1/namespaces/${ns}", body: `{"x": "a body"}`, name: "a GET with a body"},
		{do: "200 GET " + gadgets.path, body: `{"x": "a body"}`, name: "a GET with a body, of gadgets"},
		{do: "405 PUT /version", body: "{}"}, {do: "405 TRACE /api/v1/namespaces/${ns}"}, {do: "405 PROPFIND " + gadgets.path},
		{do: "200 GET /api/v1/namespaces/${ns}", http1: true, name: "an upgrade nobody knows", head: []string{"Connection: Upgrade", "Upgrade: brew"}},
	})},
}

// odd are odd ways to say path, whose object exists.
func odd(path string) []step {
	return []step{
		{do: "200 GET " + path + "?"}, {do: "200 GET " + path + "?a&b=&=c"}, {do: "200 GET " + path + "?pretty=&pretty=true"},
		{do: "404 GET " + path + "/../" + "x"}, {do: "200 GET " + path + "//"}, {do: "200 GET " + path + "%2F"}, {do: "404 GET " + path + "%20"},
		{do: "404 GET " + path + "%00"}, {do: "404 GET " + path + "/%2e%2e/x"}, {do: "404 GET " + path + ";x=y"}, {do: "200 GET " + path + "/"},
	}
}
