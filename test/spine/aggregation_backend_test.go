package spine

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// recorded is a group whose server keeps what it is sent.
func (s *side) recorded(t *testing.T, group, protocol string) *harness.Backend {
	t.Helper()
	b := harness.StartBackend(t, group, "recorded", "backend", protocol)
	s.register(t, b, group, nil)
	return b
}

// register puts a backend behind group/v1 and waits until it is called.
func (s *side) register(t *testing.T, b *harness.Backend, group string, labels map[string]string) harness.APIService {
	t.Helper()
	service := harness.APIService{
		Group: group, Version: "v1", GroupPriority: 17850, VersionPriority: 15,
		Namespace: "recorded", Service: "backend", Port: b.Port, CA: b.CA, Labels: labels,
	}
	s.apply(t, service.Manifest())
	s.Kubectl(t, "wait", "--for=condition=Available", "--timeout=90s", "apiservice", service.Name())
	return service
}

// raw sends bytes over a connection of HTTP/1.1 and returns what comes back: the
// whole answer, or after an upgrade its head and the echo of more.
func raw(t *testing.T, config *rest.Config, request, more string) string {
	t.Helper()
	address := harness.Must(url.Parse(config.Host))(t)
	secure := harness.Must(rest.TLSConfigFor(config))(t)
	secure.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", address.Host, secure)
	if err != nil {
		return plain(err.Error())
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(soon))
	io.WriteString(conn, request)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	said := &bytes.Buffer{}
	for err == nil && answer.StatusCode == http.StatusContinue {
		fmt.Fprintln(said, answer.Status)
		answer, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		return plain(said.String() + err.Error())
	}
	fmt.Fprintln(said, answer.Status)
	for _, own := range []string{"Date", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} {
		answer.Header.Del(own)
	}
	answer.Header.Write(said)
	if answer.StatusCode == http.StatusSwitchingProtocols {
		io.WriteString(conn, more)
		echo := make([]byte, len(more))
		n, err := io.ReadFull(in, echo)
		fmt.Fprintf(said, "%s %v", echo[:n], err)
		return plain(said.String())
	}
	body, err := io.ReadAll(answer.Body)
	fmt.Fprintf(said, "%s %v", body, err)
	return plain(said.String())
}

const recordedGroup = "recorded.example.com"

// backend compares every byte that an aggregated server is sent, and every byte
// that it says and clients hear.
func (a *aggregation) backend(t *testing.T) {
	const things = "/apis/" + recordedGroup + "/v1/namespaces/default/things"
	backends := map[*side]*harness.Backend{}
	for _, s := range a.both() {
		backends[s] = s.recorded(t, recordedGroup, "http/1.1")
		defer s.Kubectl(t, "delete", "apiservice", "v1."+recordedGroup)
	}
	jane := map[*side]*rest.Config{}
	for _, s := range a.both() {
		jane[s] = s.user(t, "jane o'hara", "one", "two ", "système")
		s.apply(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: recorded}
rules: [{apiGroups: [recorded.example.com], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: recorded}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: recorded}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:authenticated"}
`)
	}
	line := func(line string, headers ...string) string {
		return line + " HTTP/1.1\r\nHost: api.example.com\r\n" + strings.Join(append(headers, "Connection: close"), "\r\n") + "\r\n\r\n"
	}
	upgrade := func(path string, headers ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
	}
	for name, request := range map[string]string{
		"plain":            line("GET " + things),
		"query":            line("GET " + things + "?limit=2&b=%20x&a=1&a=0&flag&empty=&semi;colon"),
		"escaped":          line("GET " + things + "/a%2Fb%20c%252F?x=%2F"),
		"unclean":          line("GET /apis/" + recordedGroup + "/v1//namespaces/./default/things"),
		"no such version":  line("GET /apis/" + recordedGroup + "/v2/things"),
		"headers":          line("GET "+things, "Accept: application/json;as=Table, */*", "Accept-Encoding: br, gzip", "X-Thing: 1", "X-Thing: 2", "user-agent: spine/1 (test)", "Te: trailers", "Cookie: a=b"),
		"no user agent":    line("GET "+things, "Accept-Encoding: identity"),
		"forwarded":        line("GET "+things, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /x", "Via: 1.1 proxy", "Forwarded: for=192.0.2.1", "X-Real-Ip: 192.0.2.2"),
		"audit id":         line("GET "+things, "Audit-Id: my-own"),
		"traced":           line("GET "+things, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: a=b", "Baggage: c=d"),
		"false user":       line("GET "+things, "X-Remote-User: root", "X-Remote-Group: system:masters", "X-Remote-Uid: 0", "X-Remote-Extra-A: b", "X-Remote-Extra-Credential-Id: c"),
		"false identity":   line("GET "+things, "X-Triptych-Identity: CgRyb290"),
		"false credential": line("GET "+things, "Authorization: Basic cm9vdDpyb290"),
		"body":             line("POST "+things+"?fieldManager=x", "Content-Type: application/json", "Content-Length: 12") + `{"kind":"x"}`,
		"chunked":          line("PUT "+things+"/a", "Content-Type: application/vnd.custom", "Transfer-Encoding: chunked") + "4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
		"trailer":          line("PUT "+things+"/a", "Transfer-Encoding: chunked", "Trailer: X-Sum") + "4\r\nabcd\r\n0\r\nX-Sum: 4\r\n\r\n",
		"continue":         line("POST "+things, "Content-Length: 2", "Expect: 100-continue") + "{}",
		"patch":            line("PATCH "+things+"/a", "Content-Type: application/merge-patch+json", "Content-Length: 2") + "{}",
		"delete":           line("DELETE "+things+"/a", "Content-Length: 0"),
		"head":             line("HEAD " + things),
		"options":          line("OPTIONS "+things, "Origin: https://browser.example.com"),
		"strange method":   line("BREW " + things + "/teapot"),
		"teapot":           line("GET " + things + "/teapot"),
		"redirect":         line("GET " + things + "/redirect"),
		"watch":            line("GET " + things + "?watch=1&timeoutSeconds=1"),
		"websocket":        upgrade(things+"/a/stream", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"),
		"plain websocket":  upgrade(things+"/a/stream", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Origin: https://browser.example.com"),
		"SPDY":             upgrade(things+"/a/stream%2F1?command=a&command=b", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "X-Forwarded-For: 192.0.2.1"),
		"refused upgrade":  upgrade(things+"/teapot", "Upgrade: websocket"),
		"upgrade redirect": upgrade("/apis/"+recordedGroup+"/v1/redirect", "Upgrade: SPDY/3.1"),
		"impersonated":     line("GET "+things, "Impersonate-User: karl", "Impersonate-Group: g h", "Impersonate-Uid: 7", "Impersonate-Extra-Some.Key%2Fx: v"),
	} {
		t.Run(name, func(t *testing.T) {
			a.same(t, "what is sent, received and heard", func(t *testing.T, s *side) any {
				before, who := len(backends[s].Received()), jane[s]
				if name == "impersonated" {
					who = s.Config(t)
				}
				heard := raw(t, who, request, "both ways")
				all := []string{"client heard: " + heard}
				for _, received := range backends[s].Received()[before:] {
					if name == "false identity" {
						// Ours alone: nobody behind it may take a client's word for one of a tier.
						kept := strings.Replace(received, "X-Triptych-Identity: CgRyb290\r\n", "", 1)
						if gone := kept == received; gone != (s == a.ours) {
							t.Errorf("%s: the identity that a client claims is taken away: %t", s.name, gone)
						}
						received = kept
					}
					all = append(all, "backend received: "+plain(received))
				}
				return strings.Split(strings.Join(all, "\n"), "\n")
			})
		})
	}
	t.Run("HTTP/2", a.backendOfHTTP2)
}

// backendOfHTTP2 is for the protocol that real servers and clients speak.
func (a *aggregation) backendOfHTTP2(t *testing.T) {
	const group = "second.example.com"
	backends := map[*side]*harness.Backend{}
	for _, s := range a.both() {
		backends[s] = s.recorded(t, group, "h2")
		defer s.Kubectl(t, "delete", "apiservice", "v1."+group)
	}
	a.same(t, "what is received and heard", func(t *testing.T, s *side) any {
		things := "/apis/" + group + "/v1/namespaces/default/things"
		var all []string
		for _, r := range [][]string{
			{"GET", things, ""}, {"GET", things + "/a%2Fb?x=1", ""}, {"POST", things, `{"a":1}`},
			{"PATCH", things + "/a", "{}"}, {"DELETE", things, ""}, {"GET", things + "/redirect", ""}, {"GET", things + "/teapot", ""},
		} {
			heard := told(harness.Send(t.Context(), s.Config(t), r[0], r[1], r[2], "X-Thing", "1", "X-Thing", "2", "Content-Type", "application/json"))
			all = append(all, r[0]+" "+r[1], heard)
		}
		for _, received := range backends[s].Received() {
			all = append(all, strings.Split(plain(received), "\n")...)
		}
		return all
	})
}

// audited compares the audit events of requests that an aggregated server
// answers. There is one of each request.
func (a *aggregation) audited(t *testing.T) {
	mary := map[*side]*rest.Config{a.ours: a.ours.user(t, "mary"), a.stock: a.stock.user(t, "mary")}
	requests := []struct{ id, method, path, body string }{
		{"spine-list", "GET", flunders, ""},
		{"spine-get", "GET", flunders + "/lasting", ""},
		{"spine-absent", "GET", flunders + "/absent", ""},
		{"spine-refused", "DELETE", flunders + "/lasting", ""},
		{"spine-create", "POST", flunders, `{"apiVersion":"wardle.example.com/v1alpha1","kind":"Flunder","metadata":{"name":"audited"}}`},
		{"spine-watch", "GET", flunders + "?watch=1&timeoutSeconds=1", ""},
		{"spine-discovery", "GET", wardle + "/v1beta1", ""},
	}
	for _, s := range a.both() {
		for _, r := range requests {
			if _, err := harness.Send(t.Context(), mary[s], r.method, r.path, r.body, "Audit-Id", r.id); err != nil {
				t.Fatal(err)
			}
		}
	}
	events := func(t *testing.T, s *side, id string) (found []string) {
		for line := range strings.Lines(string(harness.Must(os.ReadFile(s.audit))(t))) {
			var e auditv1.Event
			// The last line may be written at this moment.
			if json.Unmarshal([]byte(line), &e) != nil || string(e.AuditID) != id {
				continue
			}
			delete(e.Annotations, tierAnnotation)
			found = append(found, plain(fmt.Sprintf("%s %s %s %s by %s of %q extra %v from %v by %s: %v, %v, %v", e.Stage, e.Level, e.Verb, e.RequestURI,
				e.User.Username, e.User.Groups, e.User.Extra, e.SourceIPs, e.UserAgent, e.ObjectRef, e.ResponseStatus, e.Annotations)))
		}
		return found
	}
	for _, r := range requests {
		a.equal(t, r.id, func(t *testing.T, s *side) any { return events(t, s, r.id) })
		want := 1
		if r.id == "spine-watch" {
			want = 2 // a watch is told of when it starts, too
		}
		if r.id == "spine-discovery" {
			want = 0 // the policy is about resources
		}
		if got := events(t, a.ours, r.id); len(got) != want {
			t.Errorf("%s: %d events, want %d: %q", r.id, len(got), want, got)
		}
	}
}
