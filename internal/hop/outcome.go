package hop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// An outcome is what becomes of a request whose answer did not arrive whole.
//
// client-go repeats any verb that is answered with 5xx and Retry-After. So
// that header promises that nothing happened, or that repeating is harmless; a
// write that may have happened is answered as a crash would answer it, which
// clients are prepared for: with a broken connection.
type outcome int

const (
	// broken: the client's stream is reset.
	broken outcome = iota
	// unavailable: 503 with Retry-After; the client may send it again.
	unavailable
	// replayed: sent once more, by us, on a fresh connection.
	replayed
	// expired: 504 without Retry-After, as the stock server answers a request
	// that took too long, be it a read or a write.
	expired
	// ended: the client has what there was, and that is all.
	ended
)

// evidence is what is known when an attempt failed.
type evidence struct {
	// cut is why we broke it off ourselves, nil if we did not.
	cut error
	// begun: the client has seen the status of the answer.
	begun bool
	// answered: at least one byte of an answer arrived.
	answered bool
	// sent: at least one byte may have reached the delegate.
	sent bool
	// harmless: the request may happen twice.
	harmless bool
	// final: this was the second attempt, or there cannot be a second one
	// because the body is partly consumed.
	final bool
}

func (e evidence) outcome() outcome {
	switch {
	case e.cut == ErrEnd && e.begun:
		return ended
	case e.cut == ErrEnd && e.harmless:
		return unavailable
	case e.cut == errTimeout && !e.begun:
		return expired
	case e.cut != nil, e.begun, e.answered:
		return broken
	case e.sent && !e.harmless:
		return broken
	case e.final:
		return unavailable
	}
	return replayed
}

// unavailable is the answer that makes clients come back in a second.
func (f *Forwarder) unavailable(cause error) *apierrors.StatusError {
	err := apierrors.NewServiceUnavailable(fmt.Sprintf("cannot reach tier %s: %v", f.config.Delegate, cause))
	err.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return err
}

func (f *Forwarder) expired() *apierrors.StatusError {
	return apierrors.NewTimeoutError(fmt.Sprintf("tier %s did not answer in time", f.config.Delegate), 0)
}

func (f *Forwarder) refuse(w http.ResponseWriter, r *http.Request, err *apierrors.StatusError) {
	if d := err.ErrStatus.Details; d != nil && d.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(d.RetryAfterSeconds)))
	}
	f.config.ErrorWriter(w, r, err)
}

// WriteStatus answers with err as JSON. It is for those who speak HTTP/1.1 and
// have no serializers at hand.
func WriteStatus(w http.ResponseWriter, _ *http.Request, err *apierrors.StatusError) {
	status := err.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	body, _ := json.Marshal(status)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body)
}
