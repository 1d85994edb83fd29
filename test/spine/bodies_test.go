package spine

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"triptych.dev/triptych/test/harness"
)

// dialHTTP1 connects to the secure port as the administrator, for the test.
func dialHTTP1(t *testing.T, api *harness.API) *tls.Conn {
	t.Helper()
	config := api.TLS(t)
	config.NextProtos = []string{"http/1.1"}
	u := harness.Must(url.Parse(api.Config(t).Host))(t)
	c := harness.Must(tls.Dial("tcp", u.Host, config))(t)
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	return c
}

// speak writes raw bytes over HTTP/1.1 and returns the answer, status line and
// body. The whole of what is said is written before anything is read.
func speak(t *testing.T, api *harness.API, said string) string {
	t.Helper()
	c := dialHTTP1(t, api)
	defer c.Close()
	if _, err := io.WriteString(c, said); err != nil {
		return "cannot write: " + err.Error()
	}
	method, _, _ := strings.Cut(said, " ")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(r, &http.Request{Method: method})
	}
	if err != nil {
		return "no answer: " + err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "half an answer: " + err.Error()
	}
	return fmt.Sprintf("%s %s %d %s", resp.Status, resp.Header.Get("Content-Type"), resp.ContentLength, body)
}

// upload is a request that is refused while its body is on its way.
type upload struct {
	path    string
	headers []string // pairs of name and value
	body    string
	chunked bool
	code    int
}

// said is u over HTTP/1.1.
func (u upload) said() string {
	s := "POST " + u.path + " HTTP/1.1\r\nHost: x\r\n"
	for i := 0; i < len(u.headers); i += 2 {
		s += u.headers[i] + ": " + u.headers[i+1] + "\r\n"
	}
	if u.chunked {
		return s + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(u.body), u.body)
	}
	return s + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(u.body), u.body)
}

// leftByStock is more than net/http reads of a body that nobody wants: a server
// may close on a client that goes on sending, which destroys the answer on its
// way to it. Stock does; ours has to let the client finish.
const leftByStock = 256 << 10

// A client that writes all of its body before it reads gets the answer that is
// ready long before, too large or forbidden. It is stock's, where stock gives
// one; over HTTP/2 stock always does.
func TestRefusalsDuringTheUploadLikeStock(t *testing.T) {
	c, stock := harness.Shared(t), harness.SharedStock(t)
	const path = "/api/v1/namespaces/default/configmaps"
	configMap := func(size int) string {
		return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"k": "` + strings.Repeat("x", size) + `"}}`
	}
	asJSON, asNobody := []string{"Content-Type", "application/json"}, []string{"Impersonate-User", "nobody"}
	for name, u := range map[string]upload{
		"with a length":   {path, asJSON, configMap(4 << 20), false, http.StatusRequestEntityTooLarge},
		"in chunks":       {path, asJSON, configMap(4 << 20), true, http.StatusRequestEntityTooLarge},
		"expecting":       {path, append([]string{"Expect", "100-continue"}, asJSON...), configMap(4 << 20), false, http.StatusRequestEntityTooLarge},
		"over 1 MiB":      {path, asJSON, configMap(1<<20 + 1), false, http.StatusUnprocessableEntity},
		"forbidden":       {path, asNobody, configMap(16 << 20), false, http.StatusForbidden},
		"a small refusal": {path, asNobody, "{}", false, http.StatusForbidden},
		"no such path":    {"/api/v1/nothing", nil, "{}", false, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			ours := speak(t, &c.API, u.said())
			if !strings.HasPrefix(ours, fmt.Sprint(u.code)) {
				t.Errorf("it is answered with %s", clip(ours))
			}
			theirs := speak(t, &stock.API, u.said())
			broken := strings.HasPrefix(theirs, "cannot write") || strings.HasPrefix(theirs, "no answer")
			if !(broken && len(u.body) > leftByStock) {
				if diff := cmp.Diff(clip(theirs), clip(ours)); diff != "" {
					t.Errorf("(- stock, + ours)\n%s", diff)
				}
			}
			if u.chunked || len(u.headers) > 2 {
				return // HTTP/2 knows no such difference
			}
			newer := harness.Must(harness.Send(t.Context(), c.Config(t), http.MethodPost, u.path, u.body, u.headers...))(t)
			oracle := harness.Must(harness.Send(t.Context(), stock.Config(t), http.MethodPost, u.path, u.body, u.headers...))(t)
			if newer.String() != oracle.String() || !strings.HasSuffix(ours, string(oracle.Body)) {
				t.Errorf("HTTP/2: %s\nstock: %s\nHTTP/1.1: %s", newer, oracle, clip(ours))
			}
		})
	}
}

func clip(s string) string { return s[:min(len(s), 600)] }

// node is a server, ours or stock, with a kubelet behind it that claims to run
// a pod.
type node struct {
	*harness.API
	*harness.Kubelet
	// name of both the node and the pod.
	name string
}

// nodes starts a kubelet behind ours and one behind stock.
func nodes(t *testing.T, name string) map[string]node {
	t.Helper()
	return nodesOn(t, "127.0.0.1", name)
}

// nodesOn is nodes on another address of this machine.
func nodesOn(t *testing.T, host, name string) map[string]node {
	t.Helper()
	c, stock := harness.Shared(t), harness.SharedStock(t)
	stockCA := harness.Must(harness.LoadPair(stock.Dir+"/pki/ca.crt", stock.Dir+"/pki/ca.key"))(t)
	all := map[string]node{
		"ours":  {&c.API, harness.StartKubeletOn(t, host, c.CA(t)), name},
		"stock": {&stock.API, harness.StartKubeletOn(t, host, stockCA), name},
	}
	for _, n := range all {
		n.RunPod(t, n.API, name)
	}
	return all
}

// Whatever the target looks like, the client gets stock's answer, and a backend
// sees what it sees behind stock. Core proxies to no address on loopback.
func TestTargetsAreReadLikeStock(t *testing.T) {
	host := harness.Must(utilnet.ChooseHostInterface())(t)
	all := nodesOn(t, host.String(), "raw")
	for _, said := range []string{
		"GET /api/v1/nodes/raw/proxy/a%2Fb", "GET /api/v1/nodes/raw/proxy/a%2fb%20c+d;e", "GET /api/v1/nodes/raw/proxy/%C3%A9/%25",
		"GET /api/v1/nodes/raw/proxy/q?watch=&pretty", "GET /api/v1/nodes/raw/proxy/q?a=b;c=d&e=%2F&f=a+b&&g", "GET /api/v1/nodes/raw/proxy/q?",
		"GET /api/v1/nodes/raw/proxy//double//slash/", "GET /api/v1/nodes/raw/proxy/./dot/../dots", "GET /api/v1/nodes/raw/proxy", "GET /api/v1/nodes/raw/proxy/",
		"GET /api/v1/nodes/https:raw:/proxy/x", "GET /api/v1/nodes/raw/proxy/redirect", "GET /api/v1/nodes/raw/proxy/404",
		"HEAD /api/v1/nodes/raw/proxy/x", "OPTIONS /api/v1/nodes/raw/proxy/x", "DELETE /api/v1/nodes/raw/proxy/x", "REPORT /api/v1/nodes/raw/proxy/x",
		"GET /api/v1/namespaces/default/pods/raw/proxy/x", "GET /api/v1/namespaces/default/services/none/proxy/x",
		// And what no proxy gets to see.
		"GET /api/v1//namespaces", "GET //api/v1/namespaces", "GET /api/v1/./namespaces", "GET /api/v1/namespaces/..", "GET /api/v1/namespaces/",
		"GET /api/v1/namespaces/a%2Fb", "GET /api/v1/namespaces/a%20b", "GET /api/v1/namespaces?watch=&limit=x", "GET /apis/apps/", "GET /api%2Fv1",
		"HEAD /api/v1/namespaces/kube-system", "OPTIONS /api/v1/namespaces", "REPORT /api/v1/namespaces", "TRACE /api", "HEAD /version", "OPTIONS *",
	} {
		t.Run(strings.ReplaceAll(said, "/", "|"), func(t *testing.T) {
			answers, arrived := map[string]string{}, map[string][]string{}
			for side, n := range all {
				before := len(n.Requests())
				answers[side] = withoutIdentities(speak(t, n.API, said+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
				for _, r := range n.Requests()[before:] {
					arrived[side] = append(arrived[side], r.Line)
				}
			}
			refused := strings.HasPrefix(answers["stock"], "405")
			if strings.Contains(said, "/nodes/raw/proxy/") && !refused && len(arrived["stock"]) == 0 {
				t.Errorf("nothing arrives behind stock: %s", clip(answers["stock"]))
			}
			if diff := cmp.Diff(arrived["stock"], arrived["ours"]); diff != "" {
				t.Errorf("the kubelet sees something else (- stock, + ours)\n%s", diff)
			}
			if diff := cmp.Diff(answers["stock"], answers["ours"]); diff != "" {
				t.Errorf("the client sees something else (- stock, + ours)\n%s", clip(diff))
			}
		})
	}
}

// withoutIdentities leaves out what differs between any two clusters, and with
// it the length that it has.
func withoutIdentities(answer string) string {
	status, body, _ := strings.Cut(answer, "{")
	if strings.Contains(body, `"uid"`) || strings.Contains(body, `"gitVersion"`) || strings.Contains(body, `resourceVersion`) {
		return status[:min(len(status), 20)]
	}
	if strings.HasPrefix(status, "200") && body == "" {
		return status[:min(len(status), 20)]
	}
	return answer
}
