package spine

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/test/harness"
)

var clientAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

// Whoever may have certificate requests signed may choose their groups, and
// "system:masters" is refused there, but not with a space behind it. It must be
// as powerless behind a hop as in front of it.
func TestMastersWithATrailingSpaceStaysPowerless(t *testing.T) {
	c := harness.Shared(t)
	const group = "space.example.com"
	installCRD(t, &c.API, group)
	tricky := []string{"system:masters ", " system:masters", "system:masters\t", "system:masters\r\n", "system:masters\x00"}
	for _, organization := range tricky {
		t.Run(fmt.Sprintf("%q", organization), func(t *testing.T) {
			who := harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "mallory ", Organization: []string{organization}, Usage: clientAuth}))(t)
			config := c.ConfigFor(t, who)
			for tier, path := range map[string]string{
				"core":       "/api/v1/namespaces/kube-system/secrets",
				"extensions": gadgetsPath(group),
				"aggregator": "/apis/apiregistration.k8s.io/v1/apiservices",
			} {
				got := harness.Must(harness.Send(t.Context(), config, http.MethodGet, path, ""))(t)
				if got.Code != http.StatusForbidden {
					t.Errorf("%s lets in the group %q: %s", tier, organization, got)
				}
			}
			user := harness.Must(whoami(t, config))(t)
			if user.Username != "mallory " || len(user.Groups) != 2 || user.Groups[0] != organization {
				t.Errorf("core sees %q in %q", user.Username, user.Groups)
			}
		})
	}
}

// The header in which identity crosses a hop is taken away from clients, and so
// are those of the front proxy, which only its certificate may use.
func TestSpoofedIdentityHeadersAreIgnored(t *testing.T) {
	c := harness.Shared(t)
	const group = "spoofed.example.com"
	installCRD(t, &c.API, group)
	master := http.Header{}
	if err := identity.Stamp(master, masterIdentity()); err != nil {
		t.Fatal(err)
	}
	nobody := harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "nobody", Usage: clientAuth}))(t)
	paths := []string{"/api/v1/namespaces/kube-system/secrets", gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices"}
	for name, headers := range map[string][]string{
		"ours":           {identity.Header, master.Get(identity.Header)},
		"ours, lower":    {strings.ToLower(identity.Header), master.Get(identity.Header)},
		"front proxy":    {"X-Remote-User", "admin", "X-Remote-Group", "system:masters"},
		"both, twice":    {identity.Header, master.Get(identity.Header), identity.Header, master.Get(identity.Header), "X-Remote-Group", "system:masters"},
		"hop by hop":     {"Connection", identity.Header, identity.Header, master.Get(identity.Header)},
		"not even valid": {identity.Header, "***"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range paths {
				got, err := harness.Send(t.Context(), c.ConfigFor(t, nobody), http.MethodGet, path, "", headers...)
				if name == "hop by hop" && err != nil {
					continue // HTTP/2 knows no Connection header: refused outright
				}
				if err != nil || got.Code != http.StatusForbidden || !strings.Contains(string(got.Body), "nobody") {
					t.Errorf("%s: %v %v", path, got, err)
				}
				if got, err := harness.Send(t.Context(), c.Anonymous(t), http.MethodGet, path, "", headers...); err == nil &&
					got.Code != http.StatusForbidden && got.Code != http.StatusUnauthorized {
					t.Errorf("%s: the anonymous: %v", path, got)
				}
			}
		})
	}
	if user := harness.Must(whoami(t, c.ConfigFor(t, nobody)))(t); user.Username != "nobody" {
		t.Errorf("core sees %+v", user)
	}
}
