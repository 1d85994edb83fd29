package serving

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

var (
	headDelegates = identity.Peer{Name: tier.Aggregator, Role: identity.Delegation}
	headItself    = identity.Peer{Name: tier.Aggregator, Role: identity.Self}
)

// seen is what a handler behind the filters got to know.
type seen struct {
	calls       int
	user        user.Info
	remote      string
	header      http.Header
	annotations map[string]string
}

// served is a tier's chain of filters over mutual TLS, and what came out of it.
func served(t *testing.T) (*inner, *seen) {
	t.Helper()
	s := &seen{}
	return startInner(t, WithIdentity(InnerChain(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.calls++
		s.user, _ = request.UserFrom(r.Context())
		s.remote, s.header = r.RemoteAddr, r.Header.Clone()
		s.annotations = audit.AuditContextFrom(r.Context()).GetEventAnnotations()
	}), newConfigOf(t)))), s
}

func TestADelegatedRequestLooksAsIfTheClientHadConnectedHere(t *testing.T) {
	tier, got := served(t)
	want := identity.Identity{
		User:          &user.DefaultInfo{Name: "jane", UID: "7", Groups: []string{"system:masters ", "a"}, Extra: map[string][]string{"Key": {"v"}}},
		ClientAddress: "203.0.113.7:4711", ReceivedAt: time.Now(),
		AuditAnnotations: map[string]string{"authentication.k8s.io/legacy-token": "ns/name"},
	}
	resp, body := tier.get(headDelegates, "/api/v1/pods", stamped(t, want))
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("got %s: %s", resp.Status, body)
	}
	if !reflect.DeepEqual(got.user, want.User) {
		t.Errorf("the user is %v, want %v", got.user, want.User)
	}
	if got.remote != want.ClientAddress {
		t.Errorf("the request came from %s, want %s", got.remote, want.ClientAddress)
	}
	if got.annotations["authentication.k8s.io/legacy-token"] != "ns/name" {
		t.Errorf("the audit log hears %v, want %v", got.annotations, want.AuditAnnotations)
	}
	if _, there := got.header[identity.Header]; there {
		t.Error("handlers see the identity header, and could pass it on")
	}
}

// Events are under the ID that the head told the client, and whoever core is a
// proxy to sees what the client itself said of it.
func TestTheAuditIDIsTheHeadsAndItsHeaderTheClients(t *testing.T) {
	for _, said := range [][]string{nil, {""}, {"chosen"}, {"one", "two"}} {
		tier, got := served(t)
		header := stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane"}, AuditID: "told"})
		if said != nil {
			header[headerAuditID] = said
		}
		resp, _ := tier.get(headDelegates, "/api/v1/pods", header)
		if id := resp.Header.Get(headerAuditID); id != "told" {
			t.Errorf("the ID is %q", id)
		}
		if seen := got.header[headerAuditID]; !slices.Equal(seen, said) {
			t.Errorf("the client said %q, handlers see %q", said, seen)
		}
	}
}

func TestADelegatedRequestThatNamesNobodyIsUnauthorized(t *testing.T) {
	good := stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane"}})
	for name, header := range map[string]http.Header{
		"forgotten": {},
		"damaged":   {identity.Header: {"*"}},
		"twice":     {identity.Header: {good[identity.Header][0], good[identity.Header][0]}},
		"nameless":  stamped(t, identity.Identity{User: &user.DefaultInfo{Groups: []string{"system:masters"}}}),
		"another way to say it": {
			"X-Remote-User": {"jane"}, "X-Remote-Group": {"system:masters"}, "Authorization": {"Bearer token"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tier, got := served(t)
			if resp, body := tier.get(headDelegates, "/api/v1/pods", header); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("got %s: %s", resp.Status, body)
			}
			if got.calls != 0 {
				t.Errorf("served as %v", got.user)
			}
		})
	}
}

func TestATierItselfIsOneUserWhateverItSays(t *testing.T) {
	tier, got := served(t)
	for name, header := range map[string]http.Header{
		"nothing": {},
		"forged":  stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane"}, ClientAddress: "203.0.113.7:1", Judged: true}),
		"damaged": {identity.Header: {"*"}},
	} {
		resp, body := tier.get(headItself, "/api/v1/pods", header)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s: %s", name, resp.Status, body)
		}
		if got.user.GetName() != user.APIServerUser || !slices.Contains(got.user.GetGroups(), user.SystemPrivilegedGroup) {
			t.Errorf("%s: served as %v", name, got.user)
		}
		if !strings.HasPrefix(got.remote, "127.0.0.1:") {
			t.Errorf("%s: from %s", name, got.remote)
		}
		if _, there := got.header[identity.Header]; there {
			t.Errorf("%s: the header went on", name)
		}
	}
}

// The public port hands its requests to the same filter.
func TestAClientOfThePublicPortSaysNothingAboutWhoItIs(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
	r.Header = stamped(t, identity.Identity{User: &user.DefaultInfo{Name: "jane", Groups: []string{"system:masters"}}, Judged: true, ClientAddress: "1.2.3.4:5"})
	remote := r.RemoteAddr
	reached := false
	WithIdentity(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached = true
		if len(r.Header) != 0 || r.RemoteAddr != remote {
			t.Errorf("handlers see %v from %s", r.Header, r.RemoteAddr)
		}
		if id, ok := CallerFrom(r.Context()); ok {
			t.Errorf("it passes for %v", id.User)
		}
		if response, ok, err := InnerAuthenticator(r); ok || err != nil {
			t.Errorf("authenticated as %v, %v", response, err)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if !reached {
		t.Error("the request was not served")
	}
}

func TestOnlyThePeersOfATierMayConnect(t *testing.T) {
	peers := Peers{headDelegates, {Name: tier.Core, Role: identity.Self}}
	for peer, want := range map[identity.Peer]bool{
		headDelegates:                                true,
		{Name: tier.Core, Role: identity.Self}:       true,
		{Name: tier.Core, Role: identity.Delegation}: false,
		headItself: false,
		{Name: identity.Supervisor, Role: identity.Delegation}: false,
		{}: false,
	} {
		if got := peers.Admit(peer); got != want {
			t.Errorf("%s: admitted %v, want %v", peer, got, want)
		}
	}
	if (Peers)(nil).Admit(headDelegates) {
		t.Error("nobody was named, and somebody admitted")
	}
}
