package insecure

import (
	"context"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
)

// unsecured is who every client of the insecure port is: the user that upstream
// named when kube-apiserver had such a port.
var unsecured = &user.DefaultInfo{
	Name:   "system:unsecured",
	Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated},
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request) {
	if err := meant(r); err != nil {
		klog.InfoS("Refusing a request on the insecure port", "reason", err.Error(), "client", r.RemoteAddr)
		hop.WriteStatus(w, r, forbidden(err))
		return
	}
	if err := sign(r); err != nil {
		hop.WriteStatus(w, r, apierrors.NewInternalError(err))
		return
	}
	if r.Body != http.NoBody {
		// Without it net/http reads up to 256 KiB of the body before it sends an
		// answer, and a client that is refused while it uploads would not know.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	if isWatch(r) {
		f.watch(w, r)
		return
	}
	f.head.ServeHTTP(w, r)
}

// refuse answers in the place of a head that cannot be reached. Nobody has read
// the body then, and in full duplex net/http does not use the connection again
// without saying so: the client's next request would be lost.
func refuse(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError) {
	if r.Body != http.NoBody {
		w.Header().Set("Connection", "close")
	}
	hop.WriteStatus(w, r, err)
}

func forbidden(err error) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: err.Error(),
	}}
}

// sign takes away whatever the client says of who it is, and says it ourselves.
// Impersonation is left to the tier that serves the request.
func sign(r *http.Request) error {
	for name := range r.Header {
		if name == "Authorization" || strings.HasPrefix(name, "X-Remote-") {
			delete(r.Header, name)
		}
	}
	return identity.Stamp(r.Header, identity.Identity{
		User: unsecured, ClientAddress: r.RemoteAddr, ReceivedAt: time.Now(),
	})
}

// watch forwards a request that has no end of its own, so that End can end it
// where a client does not take the end for a failure.
func (f *Front) watch(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(f.ending, func() { cancel(hop.ErrEnd) })()
	f.head.ServeHTTP(w, r.WithContext(ctx))
}

// paths tells what a request is about as the tiers do. Were a LIST taken for a
// watch, End would pass off half of it as the whole.
var paths = request.RequestInfoFactory{
	APIPrefixes:          sets.NewString("api", "apis"),
	GrouplessAPIPrefixes: sets.NewString("api"),
}

func isWatch(r *http.Request) bool {
	info, err := paths.NewRequestInfo(r)
	return err == nil && info.Verb == "watch"
}
