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

// undecided are checks that say nothing of what a process knows of users when a key
// management plugin is away: of other tiers, whose state is looked at anyway, and of
// watch caches, of which that of the Secrets cannot be filled.
func undecided(name string) bool {
	return strings.HasPrefix(name, "tier-") || strings.HasPrefix(name, "rights-") || name == "poststarthook/storage-readiness"
}

// lacksPluginAlone tells whether nothing is missing but a key management plugin, and
// what cannot be decrypted without: Secrets, which no right depends on.
// kube-apiserver serves all the rest then.
func (r *readiness) lacksPluginAlone() bool {
	plugin := false
	for _, check := range r.checks() {
		switch name := check.GetName(); {
		case check.GetOk(), undecided(name):
		case strings.HasPrefix(name, "kms-provider"):
			plugin = true
		case name == "informer-sync":
			if _, body := ask(r.handler, "/readyz/"+name, ""); !strings.HasSuffix(strings.TrimSpace(string(body)), "not started yet: [*v1.Secret]") {
				return false
			}
		default:
			return false
		}
	}
	return plugin
}
