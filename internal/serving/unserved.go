package serving

import (
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// WriteUnserved is WriteError for a request that gets no further than this process
// and should have been served by a tier, which would have counted it: whoever is
// alerted by the share of 5xx must hear of it.
func WriteUnserved(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError) {
	WriteError(w, r, err)
	info, found := request.RequestInfoFrom(r.Context())
	if !found {
		var unknown error
		if info, unknown = resolver.NewRequestInfo(r); unknown != nil {
			return
		}
		r = r.WithContext(request.WithRequestInfo(r.Context(), info))
	}
	if !info.IsResourceRequest {
		return // upstream does not count them either
	}
	received, found := request.ReceivedTimestampFrom(r.Context())
	if !found {
		received = time.Now()
	}
	if !counted.take(info) {
		nameless := *info
		nameless.APIGroup, nameless.APIVersion, nameless.Resource, nameless.Subresource = "", "", "", ""
		info = &nameless
	}
	code := int(err.ErrStatus.Code)
	metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, code)
	metrics.MonitorRequest(r, "", info.APIGroup, info.APIVersion, info.Resource, info.Subresource, metrics.CleanScope(info),
		metrics.APIServerComponent, false, "", code, 0, time.Since(received))
}

// resolver is for requests that have not come to the handler chain's.
var resolver = genericapiserver.NewRequestInfoResolver(&genericapiserver.Config{
	LegacyAPIGroupPrefixes: sets.NewString(genericapiserver.DefaultLegacyAPIPrefix),
})

// maxUnserved bounds under how many names what is not served is counted. Whether
// there is such a resource nobody can say here, nobody has judged who asks, and
// each name costs dozens of time series for as long as the process lives.
const maxUnserved = 500

// maxNamePart is the length of the longest name of a group.
const maxNamePart = 253

// counted are the names there are.
var counted = names{known: sets.New[name]()}

type name struct{ group, version, resource, subresource string }

type names struct {
	mu    sync.Mutex
	known sets.Set[name]
}

// take tells whether what info asks for has a name, or gets one now. What is no
// text cannot be a label, and no resource is called what is as long as a page.
func (n *names) take(info *request.RequestInfo) bool {
	asked := name{info.APIGroup, info.APIVersion, info.Resource, info.Subresource}
	for _, part := range []string{asked.group, asked.version, asked.resource, asked.subresource} {
		if len(part) > maxNamePart || !utf8.ValidString(part) {
			return false
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.known.Has(asked) && n.known.Len() >= maxUnserved {
		return false
	}
	n.known.Insert(asked)
	return true
}
