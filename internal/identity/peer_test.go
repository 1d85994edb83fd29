package identity

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/tier"
)

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAPeerIsReadFromTheURIItIsWrittenAs(t *testing.T) {
	for _, name := range append([]tier.Name{Supervisor}, tier.Order...) {
		for _, role := range []Role{Self, Delegation} {
			want := Peer{Name: name, Role: role}
			if uri, spelt := want.URI().String(), "triptych://"+want.String(); uri != spelt {
				t.Errorf("the URI is %s, want %s", uri, spelt)
			}
			got, err := PeerOf(&x509.Certificate{URIs: []*url.URL{mustParse(t, want.URI().String())}})
			if err != nil || got != want {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		}
	}
}

func TestACertificateWithoutExactlyOneURIOfOursNamesNoPeer(t *testing.T) {
	ours := mustParse(t, "triptych://aggregator/delegation")
	for name, uris := range map[string][]*url.URL{
		"none":             nil,
		"two":              {ours, ours},
		"ours and another": {ours, mustParse(t, "spiffe://cluster/ns/default")},
		"another's":        {mustParse(t, "spiffe://aggregator/delegation")},
		"without a scheme": {mustParse(t, "//aggregator/delegation")},
		"a longer scheme":  {mustParse(t, "triptychs://aggregator/delegation")},
		"scheme as opaque": {mustParse(t, "https:triptych://aggregator/delegation")},
	} {
		if peer, err := PeerOf(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%s: read as %v", name, peer)
		}
	}
}

// Whoever compares with a known peer must not take a malformed one for it.
func TestAMalformedPeerEqualsNoKnownOne(t *testing.T) {
	for _, uri := range []string{
		"triptych://aggregator", "triptych://aggregator/", "triptych:///delegation", "triptych://AGGREGATOR/delegation",
		"triptych://aggregator/delegation/", "triptych://aggregator/self/delegation", "triptych://aggregator:1/delegation",
	} {
		peer, err := PeerOf(&x509.Certificate{URIs: []*url.URL{mustParse(t, uri)}})
		if err == nil && peer == (Peer{Name: tier.Aggregator, Role: Delegation}) {
			t.Errorf("%s was taken for %v", uri, peer)
		}
	}
}

func TestTheSupervisorIsNoTier(t *testing.T) {
	if slices.Contains(tier.Order, Supervisor) {
		t.Error("the supervisor's certificates would be a tier's")
	}
}

func TestServerNamesTellTheTiersApart(t *testing.T) {
	seen := map[string]tier.Name{}
	for _, name := range tier.Order {
		if other, taken := seen[ServerName(name)]; taken {
			t.Errorf("%s and %s share the server name %s", name, other, ServerName(name))
		}
		seen[ServerName(name)] = name
	}
}

func TestWhatTheSenderJudgedAndNotedArrives(t *testing.T) {
	h := http.Header{}
	want := Identity{
		User: &user.DefaultInfo{Name: "jane"}, ClientAddress: "10.0.0.1:5", ReceivedAt: time.Unix(1, 999),
		Judged: true, AuditAnnotations: map[string]string{"authentication.k8s.io/legacy-token": "yes"},
	}
	if err := Stamp(h, want); err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(h); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestStripTakesTheHeaderHoweverOftenItIsThere(t *testing.T) {
	h := http.Header{"Accept": {"*/*"}}
	h.Add("x-triptych-identity", "forged")
	h.Add("X-TRIPTYCH-IDENTITY", "twice")
	Strip(h)
	if want := (http.Header{"Accept": {"*/*"}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}
