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

	"triptych.dev/triptych/test/harness"
)

// speak writes raw bytes to the secure port as the administrator, over HTTP/1.1,
// and returns the answer, status line and body. The whole of what is said is
// written before anything is read.
func speak(t *testing.T, api *harness.API, said string) string {
	t.Helper()
	config := api.TLS(t)
	config.NextProtos = []string{"http/1.1"}
	u := harness.Must(url.Parse(api.Config(t).Host))(t)
	c := harness.Must(tls.Dial("tcp", u.Host, config))(t)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(c, said); err != nil {
		return "cannot write: " + err.Error()
	}
	method, _, _ := strings.Cut(said, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return "no answer: " + err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "half an answer: " + err.Error()
	}
	return fmt.Sprintf("%s %s %d %s", resp.Status, resp.Header.Get("Content-Type"), resp.ContentLength, body)
}

// A client that writes all of its body before it reads gets the same answer as
// from stock, also if the answer is ready long before: too large, unauthorized.
func TestRefusalsDuringTheUploadLikeStock(t *testing.T) {
	c, stock := harness.Shared(t), harness.SharedStock(t)
	const path = "/api/v1/namespaces/default/configmaps"
	large := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"k": "` + strings.Repeat("x", 4<<20) + `"}}`
	over1MiB := strings.Replace(large, strings.Repeat("x", 4<<20), strings.Repeat("x", 1<<20+1), 1)
	post := "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for name, said := range map[string]string{
		"with a length":   post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large,
		"in chunks":       post + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large), large),
		"expecting":       post + fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(large)) + large,
		"over 1 MiB":      post + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(over1MiB)) + over1MiB,
		"a bad token":     "POST " + path + " HTTP/1.1\r\nHost: x\r\nImpersonate-User: nobody\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large,
		"a small refusal": "POST " + path + " HTTP/1.1\r\nHost: x\r\nImpersonate-User: nobody\r\nContent-Length: 2\r\n\r\n{}",
		"no such path":    "POST /api/v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := speak(t, &c.API, said), speak(t, &stock.API, said)
			if strings.HasPrefix(theirs, "cannot write") || strings.HasPrefix(theirs, "no answer") {
				// Stock may close before a client has written so much.
				theirs = ours
			}
			if diff := cmp.Diff(clip(theirs), clip(ours)); diff != "" || !strings.HasPrefix(ours, "4") && !strings.HasPrefix(ours, "100") {
				t.Errorf("(- stock, + ours)\n%s\n%s", diff, clip(ours))
			}
		})
	}
	t.Run("HTTP/2", func(t *testing.T) {
		for _, body := range []string{large, over1MiB} {
			ours := harness.Must(harness.Send(t.Context(), c.Config(t), "POST", path, body, "Content-Type", "application/json"))(t)
			theirs := harness.Must(harness.Send(t.Context(), stock.Config(t), "POST", path, body, "Content-Type", "application/json"))(t)
			if ours.Code != theirs.Code || clip(string(ours.Body)) != clip(string(theirs.Body)) {
				t.Errorf("%s\nstock: %s", ours, theirs)
			}
		}
	})
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
	c, stock := harness.Shared(t), harness.SharedStock(t)
	stockCA := harness.Must(harness.LoadPair(stock.Dir+"/pki/ca.crt", stock.Dir+"/pki/ca.key"))(t)
	all := map[string]node{
		"ours":  {&c.API, harness.StartKubelet(t, c.CA(t)), name},
		"stock": {&stock.API, harness.StartKubelet(t, stockCA), name},
	}
	for _, n := range all {
		n.RunPod(t, n.API, name)
	}
	return all
}

// Whatever the target looks like, the client gets stock's answer, and a backend
// would see what it sees behind stock. (Core proxies to no address on loopback,
// which is what these nodes have: the answer shows how it read the target.)
func TestTargetsAreReadLikeStock(t *testing.T) {
	all := nodes(t, "raw")
	for _, said := range []string{
		"GET /api/v1/nodes/raw/proxy/a%2Fb", "GET /api/v1/nodes/raw/proxy/a%2fb%20c+d;e", "GET /api/v1/nodes/raw/proxy/%C3%A9/%25",
		"GET /api/v1/nodes/raw/proxy/q?watch=&pretty", "GET /api/v1/nodes/raw/proxy/q?a=b;c=d&e=%2F&f=a+b&&g", "GET /api/v1/nodes/raw/proxy/q?",
		"GET /api/v1/nodes/raw/proxy//double//slash/", "GET /api/v1/nodes/raw/proxy/./dot/../dots", "GET /api/v1/nodes/raw/proxy", "GET /api/v1/nodes/raw/proxy/",
		"GET /api/v1/nodes/https:raw:/proxy/x", "GET /api/v1/nodes/raw/proxy/redirect", "GET /api/v1/nodes/raw/proxy/404",
		"HEAD /api/v1/nodes/raw/proxy/x", "OPTIONS /api/v1/nodes/raw/proxy/x", "DELETE /api/v1/nodes/raw/proxy/x", "REPORT /api/v1/nodes/raw/proxy/x",
		"GET /api/v1/namespaces/default/pods/raw/proxy/x", "GET /api/v1/namespaces/default/services/none/proxy/x",
		// And what no proxy gets to see.
		"GET /api/v1//namespaces", "GET //api/v1/namespaces", "GET /api/v1/./namespaces", "GET /api/v1/namespaces/..", "GET /api/v1/namespaces/",
		"GET /api/v1/namespaces/a%2Fb", "GET /api/v1/namespaces/a%20b", "GET /api/v1/namespaces?watch=&limit=x", "GET /apis/", "GET /api%2Fv1",
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
