package dialer

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// intoNodes are the subresources that core serves by calling a node.
var intoNodes = map[string]bool{"exec": true, "attach": true, "portforward": true, "log": true, "proxy": true}

// Guarded answers 503 to what needs a node that cannot be reached, before anything is
// done for it: some of upstream's handlers would switch protocols first, or make a
// 500 of it. It comes behind authorization, because it tells of nodes.
func (n *Nodes) Guarded(handler http.Handler, unavailable func(w http.ResponseWriter, r *http.Request, why string)) http.Handler {
	if n == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, found := request.RequestInfoFrom(r.Context())
		if found && info.IsResourceRequest && info.APIGroup == "" && intoNodes[info.Subresource] {
			if err := n.keeper.Await(r.Context(), n.asked(info)); err != nil {
				unavailable(w, r, err.Error())
				return
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// asked returns the address that the request will be for, or nothing where any node
// will do or where it is not known here.
func (n *Nodes) asked(info *request.RequestInfo) string {
	name := ""
	switch {
	case info.Resource == "nodes":
		_, name, _, _ = utilnet.SplitSchemeNamePort(info.Name)
	case info.Resource == "pods" && info.Subresource != "proxy":
		if pod, err := n.pods.Pods(info.Namespace).Get(info.Name); err == nil {
			name = pod.Spec.NodeName
		}
	}
	node, err := n.nodes.Get(name)
	if err != nil {
		return ""
	}
	if at := reached([]*corev1.Node{node}, n.types)[0].Addresses; len(at) > 0 {
		return at[0]
	}
	return ""
}
