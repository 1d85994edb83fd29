package harness

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Webhook is a server of the test that API servers ask about admission and
// conversion. What it answers stands in the last element of the path, so that one
// server is any number of webhooks:
//
//	allow      yes
//	deny       no, with a message
//	warn       yes, with a warning and an audit annotation
//	label      yes, and a label with the name of the element before
//	hang       nothing, until the caller gives up
//	broken     an internal error
//	convert    the objects in the desired version, spec.size becoming spec.amount
//	           from v1 to v2
//	refuse     a conversion that failed
//
// Under /apis/GROUP/v1 it serves as an aggregated API server whose resources are
// webhooks.
type Webhook struct {
	// URL is of the form https://127.0.0.1:PORT.
	URL string
	// Port is that of the URL.
	Port int
	// CA signed its certificate.
	CA *Pair

	server *httptest.Server
	ended  chan struct{}
	mu     sync.Mutex
	asked  []Asked
}

// Asked is one call of a webhook.
type Asked struct {
	// Path is that of the call.
	Path string
	// Query is the raw query of the call.
	Query string
	// Header is that of the call.
	Header http.Header
	// Review is the body.
	Review map[string]any
}

// UID of the review.
func (a Asked) UID() string {
	request, _ := a.Review["request"].(map[string]any)
	uid, _ := request["uid"].(string)
	return uid
}

// StartWebhook starts a server whose certificate is valid on loopback and for
// hosts, and ends it with the test.
func StartWebhook(t testing.TB, hosts ...string) *Webhook {
	t.Helper()
	w := &Webhook{CA: Must(NewCA("webhook-ca"))(t), ended: make(chan struct{})}
	pair := Must(w.CA.Issue(Leaf{CommonName: "webhook", Hosts: append(hosts, "127.0.0.1", "localhost"), Usage: serverUsage}))(t)
	w.server = httptest.NewUnstartedServer(w)
	w.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}
	// Some callers distrust it, as they should.
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.StartTLS()
	w.URL = w.server.URL
	_, port, err := net.SplitHostPort(w.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.Port = Must(strconv.Atoi(port))(t)
	t.Cleanup(func() {
		close(w.ended)
		w.server.Close()
	})
	return w
}

// Asked returns the calls so far, in the order of their arrival.
func (w *Webhook) Asked() []Asked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// Forget drops the calls so far.
func (w *Webhook) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = nil
}

// Bundle is the CA as it stands in manifests.
func (w *Webhook) Bundle() string { return base64.StdEncoding.EncodeToString(w.CA.CertPEM()) }

// ServeHTTP implements http.Handler.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		w.discover(rw, r.URL.Path)
		return
	}
	body, err := io.ReadAll(r.Body)
	asked := Asked{Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
	if err == nil {
		err = json.Unmarshal(body, &asked.Review)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	w.asked = append(w.asked, asked)
	w.mu.Unlock()
	w.answer(rw, r, asked)
}

// discover is what the head asks an aggregated API server.
func (w *Webhook) discover(rw http.ResponseWriter, path string) {
	group, ok := strings.CutPrefix(path, "/apis/")
	if ok {
		group, ok = strings.CutSuffix(group, "/v1")
	}
	if !ok {
		http.NotFound(rw, nil)
		return
	}
	fmt.Fprintf(rw, `{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "%s/v1", "resources": [`+
		`{"name": "allow", "singularName": "allow", "namespaced": false, "kind": "AdmissionReview", "verbs": ["create"]}]}`, group)
}

func (w *Webhook) answer(rw http.ResponseWriter, r *http.Request, asked Asked) {
	switch path.Base(asked.Path) {
	case "hang":
		select {
		case <-r.Context().Done():
		case <-w.ended:
		}
	case "broken":
		http.Error(rw, `{"broken": true}`, http.StatusInternalServerError)
	case "convert", "refuse":
		writeJSON(rw, asked.converted())
	default:
		writeJSON(rw, asked.judged())
	}
}

// judged is the answer to an AdmissionReview.
func (a Asked) judged() map[string]any {
	response := map[string]any{"uid": a.UID(), "allowed": true}
	switch path.Base(a.Path) {
	case "deny":
		response["allowed"] = false
		response["status"] = map[string]any{"code": 418, "reason": "Teapot", "message": "the webhook says no"}
	case "warn":
		response["warnings"] = []string{"the webhook warns"}
		response["auditAnnotations"] = map[string]string{"seen": "yes"}
	case "label":
		name := path.Base(path.Dir(a.Path))
		response["patchType"] = "JSONPatch"
		response["patch"] = []byte(fmt.Sprintf(`[{"op": "add", "path": "/metadata/labels/%s", "value": "yes"}]`, name))
	}
	return map[string]any{"apiVersion": a.Review["apiVersion"], "kind": a.Review["kind"], "response": response}
}

// converted is the answer to a ConversionReview.
func (a Asked) converted() map[string]any {
	request := a.Review["request"].(map[string]any)
	response := map[string]any{"uid": a.UID(), "result": map[string]any{"status": "Success"}}
	if path.Base(a.Path) == "refuse" {
		response["result"] = map[string]any{"status": "Failure", "message": "the webhook cannot convert this"}
	} else {
		to := request["desiredAPIVersion"].(string)
		objects := request["objects"].([]any)
		for _, object := range objects {
			convert(object.(map[string]any), to)
		}
		response["convertedObjects"] = objects
	}
	return map[string]any{"apiVersion": a.Review["apiVersion"], "kind": a.Review["kind"], "response": response}
}

// convert renames the field that the versions disagree about.
func convert(object map[string]any, to string) {
	object["apiVersion"] = to
	spec, ok := object["spec"].(map[string]any)
	if !ok {
		return
	}
	from, into := "size", "amount"
	if strings.HasSuffix(to, "/v1") {
		from, into = into, from
	}
	if value, ok := spec[from]; ok {
		delete(spec, from)
		spec[into] = value
	}
}

func writeJSON(rw http.ResponseWriter, value any) {
	if err := json.NewEncoder(rw).Encode(value); err != nil {
		panic(err) // maps of JSON
	}
}
