package spine

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"triptych.dev/triptych/test/harness"
)

// proxied is an API and the server behind its pod and its Service.
type proxied struct {
	*harness.API
	*harness.Target
	// normal replaces what the two differ in.
	normal *strings.Replacer
}

// serve makes a pod and a Service called target in the namespace proxied, both
// of which are the Target.
func (p *proxied) serve(t *testing.T) {
	t.Helper()
	p.KubectlInput(t, strings.NewReplacer("HOST", p.Host, "SECURE", fmt.Sprint(p.SecurePort), "PORT", fmt.Sprint(p.Port)).Replace(`
apiVersion: v1
kind: Namespace
metadata: {name: proxied}
---
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: proxied, name: default}
---
apiVersion: v1
kind: Pod
metadata: {namespace: proxied, name: target}
spec:
  automountServiceAccountToken: false
  containers: [{name: main, image: none, ports: [{containerPort: PORT}]}]
---
apiVersion: v1
kind: Service
metadata: {namespace: proxied, name: target}
spec:
  clusterIP: None
  ports: [{name: plain, port: 80}, {name: secure, port: 443}]
---
apiVersion: v1
kind: Service
metadata: {namespace: proxied, name: nobody}
spec:
  ports: [{name: plain, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: proxied, name: target, labels: {kubernetes.io/service-name: target}}
addressType: IPv4
endpoints: [{addresses: [HOST], conditions: {ready: true}, targetRef: {kind: Pod, namespace: proxied, name: target}}]
ports: [{name: plain, port: PORT}, {name: secure, port: SECURE}]
`), "create", "-f", "-")
	p.Kubectl(t, "-n", "proxied", "patch", "pod", "target", "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"phase": "Running", "podIP": %q, "podIPs": [{"ip": %[1]q}]}}`, p.Host))
}

// inTurn sends what is said over HTTP/1.1 and returns all that the client gets
// and all that arrives at the Target.
func (p *proxied) inTurn(t *testing.T, said string) (client, target string) {
	t.Helper()
	client = p.exchange(t, p.normal.Replace(said))
	if _, final, interim := strings.Cut(client, "\r\n200 OK"); interim {
		// Stock forgets its own headers after an interim answer; the head does not.
		client = strings.TrimSuffix(client, final) + forgotten.ReplaceAllString(final, "")
	}
	return plain(p.normalize(client)), plain(p.normalize(strings.Join(p.Received(), "\n---\n")))
}

var forgotten = regexp.MustCompile(`(Audit-Id|Cache-Control): .*\r\n`)

// normalize puts the placeholders back.
func (p *proxied) normalize(s string) string {
	return strings.NewReplacer(fmt.Sprint(p.SecurePort), "SECURE", fmt.Sprint(p.Port), "PORT").Replace(s)
}

// exchange is speak that returns every header, too.
func (p *proxied) exchange(t *testing.T, said string) string {
	t.Helper()
	c := dialHTTP1(t, p.API)
	defer c.Close()
	if _, err := io.WriteString(c, said); err != nil {
		return "cannot write: " + err.Error()
	}
	method, _, _ := strings.Cut(said, " ")
	r, got := bufio.NewReader(c), &strings.Builder{}
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return fmt.Sprintf("%sno answer: %v", got, err)
		}
		resp.Header.Del("Date")
		fmt.Fprintf(got, "%s, %d, %v\n", resp.Status, resp.ContentLength, resp.TransferEncoding)
		resp.Header.Write(got)
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		fmt.Fprintf(got, "\n%s\n%v\ntrailer %v", body, err, resp.Trailer)
		return got.String()
	}
}

const (
	podProxy     = "/api/v1/namespaces/proxied/pods/target/proxy"
	serviceProxy = "/api/v1/namespaces/proxied/services/target:plain/proxy"
)

// proxiedRequests are sent to the pod and to the Service. PROXY is replaced.
var proxiedRequests = map[string]string{
	"GET":                        "GET PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD":                       "HEAD PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"DELETE":                     "DELETE PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"OPTIONS":                    "OPTIONS PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"REPORT":                     "REPORT PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"CONNECT":                    "CONNECT PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"DELETE with a body":         "DELETE PROXY/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	"GET with a body":            "GET PROXY/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	"PUT":                        "PUT PROXY/a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nContent-Type: x/y; z=\"\xc3\xa9\"\r\n\r\n\x00\xff\r\n\r\n",
	"PUT of nothing":             "PUT PROXY/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	"POST without a length":      "POST PROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"PATCH in chunks":            "PATCH PROXY/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;ext=1\r\nd\r\n0\r\n\r\n",
	"POST with a trailer":        "POST PROXY/a HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n",
	"POST expecting":             "POST PROXY/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	"POST of 4 MiB":              "POST PROXY/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n" + strings.Repeat("0123456789abcdef", 1<<18),
	"HTTP/1.0":                   "GET PROXY/a HTTP/1.0\r\n\r\n",
	"an escaped slash":           "GET PROXY/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n",
	"escapes":                    "GET PROXY/a%2fb%20c+d;e/%C3%A9/%25/%3F/%23 HTTP/1.1\r\nHost: x\r\n\r\n",
	"raw bytes":                  "GET PROXY/\xc3\xa9/[a]|\"<> HTTP/1.1\r\nHost: x\r\n\r\n",
	"slashes":                    "GET PROXY//a///b/ HTTP/1.1\r\nHost: x\r\n\r\n",
	"dots":                       "GET PROXY/./a/../b HTTP/1.1\r\nHost: x\r\n\r\n",
	"escaped dots":               "GET PROXY/%2e%2e/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"no slash":                   "GET PROXY HTTP/1.1\r\nHost: x\r\n\r\n",
	"a slash":                    "GET PROXY/ HTTP/1.1\r\nHost: x\r\n\r\n",
	"a query":                    "GET PROXY/a?watch=&pretty&a=b&a=c&&e=%2F&f=a+b HTTP/1.1\r\nHost: x\r\n\r\n",
	"a query with semicolons":    "GET PROXY/a?a=b;c=d&e=%zz HTTP/1.1\r\nHost: x\r\n\r\n",
	"an empty query":             "GET PROXY/a? HTTP/1.1\r\nHost: x\r\n\r\n",
	"options of the API":         "GET PROXY/a?path=/b&timeout=1s&dryRun=All&watch=true HTTP/1.1\r\nHost: x\r\n\r\n",
	"an absolute target":         "GET https://elsewherePROXY/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"headers":                    "GET PROXY/a HTTP/1.1\r\nHost: example.com:99\r\nX-Twice: a\r\nX-Twice: b, c\r\nx-odd_name:  d \r\nX-Empty:\r\nCookie: a=b; c=d\r\nAccept-Encoding: br\r\nUser-Agent: me/1 (\xc3\xa9)\r\nReferer: /x\r\n\r\n",
	"headers of connections":     "GET PROXY/a HTTP/1.1\r\nHost: x\r\nConnection: X-Gone, keep-alive\r\nX-Gone: a\r\nKeep-Alive: 1\r\nProxy-Connection: b\r\nTE: trailers, deflate\r\nUpgrade: h2c\r\n\r\n",
	"headers of proxies":         "GET PROXY/a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: h\r\nX-Forwarded-Uri: /u\r\nX-Forwarded-Proto: p\r\nX-Real-Ip: 192.0.2.2\r\nForwarded: for=a\r\nVia: 1.0 v\r\n\r\n",
	"headers of identities":      "GET PROXY/a HTTP/1.1\r\nHost: x\r\nX-Remote-User: admin\r\nX-Remote-Group: system:masters\r\nX-Remote-Extra-A: b\r\nAuthorization: Basic YTpi\r\nAudit-Id: chosen\r\n\r\n",
	"impersonation":              "GET PROXY/a HTTP/1.1\r\nHost: x\r\nImpersonate-User: alice\r\nImpersonate-Group: system:masters\r\n\r\n",
	"an impersonated nobody":     "GET PROXY/a HTTP/1.1\r\nHost: x\r\nImpersonate-User: nobody\r\n\r\n",
	"accepting gzip":             "GET PROXY/zipped HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
	"a range":                    "GET PROXY/a HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\nIf-None-Match: \"x\"\r\n\r\n",
	"an upgrade":                 "GET PROXY/upgrade?a=%2F HTTP/1.1\r\nHost: x\r\n" + webSocket + "\r\n",
	"another upgrade":            "POST PROXY/upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: Odd/1\r\nContent-Length: 0\r\n\r\n",
	"an upgrade that is refused": "GET PROXY/teapot HTTP/1.1\r\nHost: x\r\n" + webSocket + "\r\n",
	"an upgrade that is moved":   "GET PROXY/moved HTTP/1.1\r\nHost: x\r\n" + webSocket + "\r\n",
	"an upgrade without an end":  "GET PROXY/nothing HTTP/1.1\r\nHost: x\r\n" + webSocket + "\r\n",
}

const webSocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nOrigin: http://x\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a\r\n"

// proxiedElsewhere are targets that are chosen in other ways, or badly.
var proxiedElsewhere = []string{
	"/api/v1/namespaces/proxied/pods/target:PORT/proxy/a", "/api/v1/namespaces/proxied/pods/http:target:PORT/proxy/a",
	"/api/v1/namespaces/proxied/pods/https:target:SECURE/proxy/a", "/api/v1/namespaces/proxied/pods/target:1/proxy/a",
	"/api/v1/namespaces/proxied/pods/target:x/proxy/a", "/api/v1/namespaces/proxied/pods/nobody/proxy/a", "/api/v1/namespaces/proxied/pods/ftp:target:1/proxy/a",
	"/api/v1/namespaces/proxied/services/target/proxy/a", "/api/v1/namespaces/proxied/services/target:80/proxy/a",
	"/api/v1/namespaces/proxied/services/http:target:plain/proxy/a", "/api/v1/namespaces/proxied/services/https:target:secure/proxy/a",
	"/api/v1/namespaces/proxied/services/https:target:443/proxy/a%2Fb//c?d=", "/api/v1/namespaces/proxied/services/target:81/proxy/a",
	"/api/v1/namespaces/proxied/services/target:none/proxy/a", "/api/v1/namespaces/proxied/services/nobody/proxy/a",
	"/api/v1/namespaces/proxied/services/absent/proxy/a", "/api/v1/namespaces/absent/services/target:plain/proxy/a",
	"/api/v1/proxy/namespaces/proxied/pods/target:PORT/a", "/api/v1/namespaces/proxied/pods/target:PORT/proxyx/a",
}

// What clients send through pods/proxy and services/proxy arrives as behind
// stock, byte for byte, and so does what the server there says.
func TestProxiedRequestsLikeStock(t *testing.T) {
	host := harness.Must(utilnet.ChooseHostInterface())(t).String()
	ours, stock := &proxied{API: &harness.Shared(t).API}, &proxied{API: &harness.SharedStock(t).API}
	for _, p := range []*proxied{ours, stock} {
		p.Target = harness.StartTarget(t, host)
		p.normal = strings.NewReplacer("SECURE", fmt.Sprint(p.SecurePort), "PORT", fmt.Sprint(p.Port))
		p.serve(t)
	}
	// Core resolves Services by a cache of its own.
	for _, p := range []*proxied{ours, stock} {
		served(t, p.API, serviceProxy+"/a")
		p.Received()
	}
	same := func(t *testing.T, said string) {
		t.Helper()
		wantClient, wantTarget := stock.inTurn(t, said)
		gotClient, gotTarget := ours.inTurn(t, said)
		if diff := cmp.Diff(wantTarget, gotTarget); diff != "" {
			t.Errorf("the server sees something else (- stock, + ours)\n%s", firstLines(diff, 60))
		}
		if diff := cmp.Diff(wantClient, gotClient); diff != "" {
			t.Errorf("the client sees something else (- stock, + ours)\n%s", firstLines(diff, 60))
		}
		t.Log(clip(wantClient), "\n---\n", clip(wantTarget))
	}
	for kind, path := range map[string]string{"pod": podProxy, "service": serviceProxy} {
		for name, said := range proxiedRequests {
			t.Run(kind+" "+name, func(t *testing.T) { same(t, strings.Replace(said, "PROXY", path, 1)) })
		}
		for name := range harness.TargetAnswers {
			t.Run(kind+" answers "+name, func(t *testing.T) { same(t, "GET "+path+"/"+name+" HTTP/1.1\r\nHost: x\r\n\r\n") })
		}
		t.Run(kind+" tunnel", func(t *testing.T) {
			for _, p := range []*proxied{stock, ours} {
				if got := p.tunnel(t, path); got != "firstall of it" {
					t.Errorf("a tunnel of %s carries %s", p.Config(t).Host, clip(got))
				}
			}
		})
	}
	for _, path := range proxiedElsewhere {
		t.Run(strings.ReplaceAll(path, "/", "|"), func(t *testing.T) { same(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n") })
	}
}

// tunnel sends through an upgraded connection and returns what comes back.
func (p *proxied) tunnel(t *testing.T, path string) string {
	t.Helper()
	c := dialHTTP1(t, p.API)
	sent := strings.Repeat("both ways, ", 50_000)
	harness.Must(io.WriteString(c, p.normal.Replace("GET "+path+"/upgrade HTTP/1.1\r\nHost: x\r\n")+webSocket+"\r\n"))(t)
	r := bufio.NewReader(c)
	head := harness.Must(http.ReadResponse(r, nil))(t)
	if head.StatusCode != http.StatusSwitchingProtocols {
		return head.Status
	}
	go func() { _, _ = io.WriteString(c, sent) }()
	all := make([]byte, len("first")+len(sent))
	if n, err := io.ReadFull(r, all); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	p.Received()
	return strings.Replace(string(all), sent, "all of it", 1)
}
