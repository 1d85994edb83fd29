package serving

import (
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// statusCodecs encode nothing but Status, in every media type upstream has.
var statusCodecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	return serializer.NewCodecFactory(scheme)
}()

// WriteError answers r with err as a Status in the media type that the client
// accepts, and Retry-After where err says so.
func WriteError(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError) {
	responsewriters.ErrorNegotiated(err, statusCodecs, schema.GroupVersion{Version: "v1"}, w, r)
}

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
	code := int(err.ErrStatus.Code)
	metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, code)
	metrics.MonitorRequest(r, "", info.APIGroup, info.APIVersion, info.Resource, info.Subresource, metrics.CleanScope(info),
		metrics.APIServerComponent, false, "", code, 0, time.Since(received))
}

// resolver is for requests that have not come to the handler chain's.
var resolver = genericapiserver.NewRequestInfoResolver(&genericapiserver.Config{
	LegacyAPIGroupPrefixes: sets.NewString(genericapiserver.DefaultLegacyAPIPrefix),
})

// Unavailable answers 503 with Retry-After. It may only be used while nothing
// has been done: clients then send any request again.
func Unavailable(w http.ResponseWriter, r *http.Request, why string) {
	err := apierrors.NewServiceUnavailable(why)
	err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	WriteUnserved(w, r, err)
}
