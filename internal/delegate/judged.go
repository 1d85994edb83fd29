package delegate

import (
	"encoding/json"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/kube-openapi/pkg/handler3"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/serving"
)

// endOfChain is the handler at the end of this process' own chain: what upstream
// calls with a request that its server does not know, and to download OpenAPI.
// Such a request has been through the chain, so the delegate must not audit and
// authorize it again. Requests of clients that another tier serves do not get
// here, the router takes them before the chain.
func (d *Delegate) endOfChain() http.Handler {
	forward := d.Judged()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == openAPIV2 || r.URL.Path == openAPIV3:
			d.openAPI.serveUpstream(w, r)
		default:
			forward.ServeHTTP(w, r)
		}
	})
}

// Judged forwards an authenticated request that needs no judging where it is
// served.
func (d *Delegate) Judged() http.Handler {
	// The forwarder is made after what asks by this.
	return judged(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.forwarder.ServeHTTP(w, r) }))
}

// EachJudged is Judged for each replica, by its name.
func (d *Delegate) EachJudged() map[string]http.Handler {
	all := d.forwarder.Each()
	for name, one := range all {
		all[name] = judged(one)
	}
	return all
}

func judged(forwarder http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := serving.Asking(r)
		id.Judged = true
		r = r.Clone(r.Context())
		if err == nil {
			err = identity.Stamp(r.Header, id)
		}
		if err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		forwarder.ServeHTTP(w, r)
	})
}

// RecallOpenAPI lists documents for group versions that are known from another
// life of this process, unless the delegate has told what there is: asking for
// one is then a 503 and not a 404.
func (d *Delegate) RecallOpenAPI(groupVersions []metav1.GroupVersion) {
	root := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, gv := range groupVersions {
		path := "apis/" + gv.Group + "/" + gv.Version
		root.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: openAPIV3 + "/" + path}
	}
	body, err := json.Marshal(root)
	if err != nil {
		return // strings do not fail to encode
	}
	d.openAPI.v3.recall(body)
}

// inMemory turns an answer that breaks off into one that failed: documents are
// asked for in goroutines where nothing recovers.
func inMemory(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := responsewriter.NewInMemoryResponseWriter()
		if err := complete(handler, answer, r); err != nil {
			responsewriters.InternalError(w, r, err)
			return
		}
		give(w, answer)
	})
}

func complete(handler http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the answer to %s broke off: %v", r.URL.Path, p)
		}
	}()
	handler.ServeHTTP(w, r)
	return nil
}
