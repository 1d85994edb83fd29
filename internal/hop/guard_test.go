package hop

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlines is a client's side that keeps which deadline it was given.
type deadlines struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write = t
	return nil
}

// Reading no more of a body cancels the request in net/http: that is no client that
// went away, and the end of its answer still has to be written.
func TestTheEndOfABodyDoesNotCutTheAnswer(t *testing.T) {
	for _, settled := range []bool{true, false} {
		client := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		g := guard{client: http.NewResponseController(client)}
		if err := g.begin(); err != nil {
			t.Fatal(err)
		}
		if settled {
			g.settle()
		}
		g.cut(errGone)
		if uncut := g.stop(); uncut != settled || client.write.IsZero() != settled {
			t.Errorf("settled %v: uncut %v, deadline %v", settled, uncut, client.write)
		}
	}
}
