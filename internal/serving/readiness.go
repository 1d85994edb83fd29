package serving

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"sync"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

// readiness runs the readiness checks of a server one by one. The handler of /readyz
// counts whoever asks, as a request and with each check, and a process asks itself
// twice a second, which nobody who looks at the metrics wants to see.
type readiness struct {
	handler http.Handler

	mu sync.Mutex
	// names are those of the checks, which are complete when there is a /readyz.
	names []string
	// told is whether /readyz itself has said yes: it takes note of the first time.
	told bool
}

// checks returns each by name.
func (r *readiness) checks() []*handshakev1.Check {
	var out []*handshakev1.Check
	for _, name := range r.known() {
		code, _ := ask(r.handler, "/readyz/"+name, "")
		out = append(out, &handshakev1.Check{Name: name, Ok: code == http.StatusOK})
	}
	return out
}

// ready tells whether there are checks and all of them pass.
func (r *readiness) ready() bool {
	checks := r.checks()
	for _, check := range checks {
		if !check.GetOk() {
			return false
		}
	}
	return len(checks) > 0 && r.tell()
}

// known reads the names once.
func (r *readiness) known() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names != nil {
		return r.names
	}
	_, body := ask(r.handler, "/readyz?verbose", "")
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		// "[+]ping ok" or "[-]etcd failed: reason withheld"
		mark, rest, found := strings.Cut(lines.Text(), "]")
		name, _, _ := strings.Cut(rest, " ")
		if found && (mark == "[+" || mark == "[-") {
			r.names = append(r.names, name)
		}
	}
	return r.names
}

// tell has the server know that it is ready for the first time.
func (r *readiness) tell() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told {
		code, _ := ask(r.handler, "/readyz", "")
		r.told = code == http.StatusOK
	}
	return r.told
}
