package harness

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// Authorizer is a webhook that API servers ask what users may do. What it answers
// stands at the end of the user's name:
//
//	-allowed   yes
//	-denied    no
//	-broken    an error, of which a second question would be no cure
//	any other  no opinion, with a reason
type Authorizer struct {
	// Kubeconfig is the file by which API servers find it.
	Kubeconfig string

	mu    sync.Mutex
	asked []authorizationv1.SubjectAccessReviewSpec
}

// StartAuthorizer starts one on loopback and ends it with the test.
func StartAuthorizer(t testing.TB) *Authorizer {
	t.Helper()
	a, ca := &Authorizer{}, Must(NewCA("authorizer"))(t)
	a.Kubeconfig = webhookKubeconfig(t, serveTLS(t, ca, a), ca)
	return a
}

// Asked returns the questions since the last call.
func (a *Authorizer) Asked() []authorizationv1.SubjectAccessReviewSpec {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// ServeHTTP implements http.Handler.
func (a *Authorizer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.asked = append(a.asked, review.Spec)
	a.mu.Unlock()
	switch _, verdict, _ := strings.Cut(review.Spec.User, "-"); verdict {
	case "allowed":
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "the webhook says yes"}
	case "denied":
		review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "the webhook says no"}
	case "broken":
		http.Error(w, "broken", http.StatusBadRequest)
		return
	default:
		review.Status = authorizationv1.SubjectAccessReviewStatus{Reason: "the webhook shrugs"}
	}
	answerJSON(w, review)
}
