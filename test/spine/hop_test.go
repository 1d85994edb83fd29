package spine

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
	"triptych.dev/triptych/test/harness"
)

// inside is what a test needs to knock at the inner listeners: where they are
// and the CA that they trust.
type inside struct {
	c     *harness.Cluster
	tiers map[tier.Name]wiring.Endpoint // of the first replica
	ca    *harness.Pair
}

func insideOf(t *testing.T, c *harness.Cluster) *inside {
	t.Helper()
	w := harness.Must(wiring.Load(c.Path("run", "core-0.wiring.json"), tier.Core))(t)
	ca := harness.Must(harness.LoadPair(c.Path("pki", "internal", "ca.crt"), c.Path("pki", "internal", "ca.key")))(t)
	in := &inside{c: c, tiers: map[tier.Name]wiring.Endpoint{}, ca: ca}
	for name, replicas := range w.Tiers {
		in.tiers[name] = replicas[0]
	}
	return in
}

// forge issues what the supervisor would issue for a peer, real or not.
func (in *inside) forge(t *testing.T, peer string) *harness.Pair {
	t.Helper()
	return harness.Must(in.ca.Issue(harness.Leaf{CommonName: peer, URIs: []string{"triptych://" + peer}, Usage: clientAuth}))(t)
}

// config is how to call a tier with a certificate, or with none.
func (in *inside) config(to tier.Name, who *harness.Pair) *tls.Config {
	config := &tls.Config{RootCAs: in.ca.Pool(), ServerName: identity.ServerName(to)}
	if who != nil {
		config.Certificates = []tls.Certificate{who.TLS()}
	}
	return config
}

// get sends one GET of path to address.
func get(t *testing.T, address string, config *tls.Config, path string, header http.Header) (harness.Answer, error) {
	t.Helper()
	return send(t, http.MethodGet, address, config, path, "", header)
}

func send(t *testing.T, method, address string, config *tls.Config, path, body string, header http.Header) (harness.Answer, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	req := harness.Must(http.NewRequestWithContext(t.Context(), method, "https://"+address+path, strings.NewReader(body)))(t)
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return harness.Do(&http.Client{Transport: transport, Timeout: soon}, req)
}

func masterIdentity() identity.Identity {
	return identity.Identity{
		User:          &user.DefaultInfo{Name: "forged", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		ClientAddress: "192.0.2.1:1",
		ReceivedAt:    time.Now(),
	}
}

// stamped is the header of a request that speaks for a cluster administrator.
func stamped(t *testing.T) http.Header {
	t.Helper()
	header := http.Header{}
	if err := identity.Stamp(header, masterIdentity()); err != nil {
		t.Fatal(err)
	}
	return header
}

// Every inner listener demands a certificate of the internal CA, by TLS 1.3,
// and an unknown caller gets nothing that is HTTP.
func TestInnerListenersRefuseStrangers(t *testing.T) { refuseStrangers(t, harness.Shared(t)) }

func refuseStrangers(t *testing.T, c *harness.Cluster) {
	in := insideOf(t, c)
	otherCA := harness.Must(harness.NewCA("triptych-internal"))(t)
	byOther := harness.Must(otherCA.Issue(harness.Leaf{CommonName: "core/self", URIs: []string{"triptych://core/self"}, Usage: clientAuth}))(t)
	byClusterCA := harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "core/self", Organization: []string{"system:masters"},
		URIs: []string{"triptych://core/self"}, Usage: clientAuth}))(t)
	expired := harness.Must(in.ca.Issue(harness.Leaf{CommonName: "core/self", URIs: []string{"triptych://core/self"},
		Usage: clientAuth, NotAfter: time.Now().Add(-time.Minute)}))(t)
	forServers := harness.Must(in.ca.Issue(harness.Leaf{CommonName: "core/self", URIs: []string{"triptych://core/self"},
		Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}))(t)

	nameless := harness.Must(in.ca.Issue(harness.Leaf{CommonName: "core/self", Usage: clientAuth}))(t)

	strangers := map[string]*harness.Pair{
		"without a certificate":                nil,
		"of a CA of the same name":             byOther,
		"of the cluster's CA":                  byClusterCA,
		"expired":                              expired,
		"a serving certificate":                forServers,
		"of an administrator":                  harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "admin", Organization: []string{"system:masters"}, Usage: clientAuth}))(t),
		"of the internal CA that names nobody": nameless,
	}
	for name := range in.tiers {
		for listener, address := range map[string]string{"hop": in.tiers[name].Hop, "handshake": in.tiers[name].Handshake} {
			for what, who := range strangers {
				if who == nameless && listener == "handshake" {
					continue // tells its health to whoever the internal CA vouches for
				}
				t.Run(fmt.Sprintf("%s %s %s", name, listener, what), func(t *testing.T) {
					if got, err := get(t, address, in.config(name, who), "/version", stamped(t)); err == nil {
						t.Errorf("is answered: %s", got)
					}
				})
			}
			t.Run(fmt.Sprintf("%s %s TLS 1.2", name, listener), func(t *testing.T) {
				config := in.config(name, in.forge(t, "aggregator/delegation"))
				config.MaxVersion = tls.VersionTLS12
				if got, err := get(t, address, config, "/version", stamped(t)); err == nil {
					t.Errorf("is answered: %s", got)
				}
			})
			t.Run(fmt.Sprintf("%s %s without TLS", name, listener), func(t *testing.T) {
				resp, err := http.Get("http://" + address + "/version")
				if err == nil {
					resp.Body.Close()
					if resp.StatusCode == http.StatusOK {
						t.Error("is answered")
					}
				}
			})
		}
	}
}

// A tier delegates in one direction only: who is not the one who may delegate to
// a tier is refused by it, though the internal CA vouches for him.
func TestHopsRefuseTheWrongPeer(t *testing.T) { refuseWrongPeers(t, harness.Shared(t)) }

func refuseWrongPeers(t *testing.T, c *harness.Cluster) {
	in := insideOf(t, c)
	mayDelegate := map[tier.Name][]string{
		tier.Extensions: {"core/delegation", "aggregator/delegation"},
		tier.Core:       {"aggregator/delegation"},
		tier.Aggregator: {"supervisor/delegation"},
	}
	delegators := []string{"aggregator/delegation", "core/delegation", "extensions/delegation", "supervisor/delegation"}
	for name, allowed := range mayDelegate {
		for _, peer := range append(delegators, "stranger/self", "core/other", "core/delegation/", "/", "extensions/serving") {
			t.Run(fmt.Sprintf("%s calls %s", peer, name), func(t *testing.T) {
				got, err := get(t, in.tiers[name].Hop, in.config(name, in.forge(t, peer)), "/version", stamped(t))
				if strings.Contains(" "+strings.Join(allowed, " ")+" ", " "+peer+" ") {
					if err != nil || got.Code != http.StatusOK {
						t.Errorf("is refused: %s %v", got, err)
					}
				} else if err == nil {
					t.Errorf("is answered: %s", got)
				}
			})
		}
	}
}

// Whoever speaks for others and says for whom not is nobody.
func TestDelegationWithoutIdentityIsUnauthorized(t *testing.T) {
	in := insideOf(t, harness.Shared(t))
	for name, peer := range map[tier.Name]string{
		tier.Extensions: "core/delegation", tier.Core: "aggregator/delegation", tier.Aggregator: "supervisor/delegation",
	} {
		who := in.config(name, in.forge(t, peer))
		damaged := http.Header{identity.Header: {"***"}}
		twice := stamped(t)
		twice[identity.Header] = append(twice[identity.Header], twice[identity.Header][0])
		for what, header := range map[string]http.Header{
			"none": {}, "damaged": damaged, "twice": twice, "empty": {identity.Header: {""}},
			"of the front proxy": {"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}},
		} {
			t.Run(fmt.Sprintf("%s %s", name, what), func(t *testing.T) {
				// Even what the anonymous may read: anonymity ends at the head.
				for _, path := range []string{"/version", "/apis", "/api/v1/namespaces"} {
					got, err := get(t, in.tiers[name].Hop, who, path, header)
					if err != nil || got.Code != http.StatusUnauthorized {
						t.Errorf("%s: %s %v", path, got, err)
					}
				}
			})
		}
	}
}

// A tier that speaks for itself is itself, whatever it says.
func TestSelfCertificateIsAFixedUser(t *testing.T) {
	in := insideOf(t, harness.Shared(t))
	for header, name := range map[*http.Header]string{{}: "plain", ptr(stamped(t)): "with an identity"} {
		t.Run(name, func(t *testing.T) {
			got, err := send(t, http.MethodPost, in.tiers[tier.Core].Hop, in.config(tier.Core, in.forge(t, "core/self")),
				"/apis/authentication.k8s.io/v1/selfsubjectreviews",
				`{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`, *header)
			if err != nil || got.Code != http.StatusCreated {
				t.Fatalf("%s %v", got, err)
			}
			var review authenticationv1.SelfSubjectReview
			got.Into(t, &review)
			if review.Status.UserInfo.Username != user.APIServerUser {
				t.Errorf("core sees %+v", review.Status.UserInfo)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// The name that a tier shows is its own: whoever squats on the port of another
// cannot pass for it.
func TestEachTierShowsItsOwnName(t *testing.T) {
	in := insideOf(t, harness.Shared(t))
	for name := range in.tiers {
		for other := range in.tiers {
			for _, address := range []string{in.tiers[name].Hop, in.tiers[name].Handshake} {
				conn, err := tls.Dial("tcp", address, in.config(other, in.forge(t, "aggregator/self")))
				if err == nil {
					conn.Close()
				}
				if (err == nil) != (name == other) {
					t.Errorf("%s asked for as %s: %v", name, other, err)
				}
			}
		}
	}
}

// The internal CA vouches for nobody outside: on the secure port its
// certificates are worth as much as any stranger's.
func TestInternalCertificatesAreWorthlessOutside(t *testing.T) {
	c := harness.Shared(t)
	in := insideOf(t, c)
	for _, peer := range []string{"core/self", "aggregator/delegation", "supervisor/delegation"} {
		for _, file := range []bool{true, false} {
			who := in.forge(t, peer)
			if file {
				base := c.Path("pki", "internal", strings.ReplaceAll(peer, "/", "-"))
				who = harness.Must(harness.LoadPair(base+".crt", base+".key"))(t)
			}
			got := harness.Must(harness.Send(t.Context(), c.ConfigFor(t, who), http.MethodGet, "/api/v1/secrets", "",
				identity.Header, stamped(t).Get(identity.Header)))(t)
			if got.Code != http.StatusUnauthorized && got.Code != http.StatusForbidden {
				t.Errorf("%s gets %s", peer, got)
			}
		}
	}
	bundle := harness.Must(os.ReadFile(c.Path("pki", "internal", "ca.crt")))(t)
	published := c.Kubectl(t, "-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "json")
	if inner := strings.Split(string(bundle), "\n")[3]; strings.Contains(published, inner) {
		t.Error("aggregated API servers are told to trust the internal CA")
	}
}

// Whoever has taken over extensions, or the head, has its certificate for its own calls:
// by that one it is no administrator, neither at core nor at the head.
func TestACallOfATierItselfIsNoAdministrators(t *testing.T) {
	c := harness.Shared(t)
	in := insideOf(t, c)
	c.Kubectl(t, "create", "secret", "generic", "out-of-reach", "--from-literal=key=value")
	binding := `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"mine"},` +
		`"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[]}`
	for _, peer := range []tier.Name{tier.Extensions, tier.Aggregator} {
		pair := harness.Must(harness.LoadPair(c.Path("pki", "internal", string(peer)+"-self.crt"), c.Path("pki", "internal", string(peer)+"-self.key")))(t)
		for _, at := range []tier.Name{tier.Core, tier.Aggregator} {
			config, address := in.config(at, pair), in.tiers[at].Hop
			for path, want := range map[string]int{
				"/api/v1/namespaces/default":                      http.StatusOK,
				"/apis/rbac.authorization.k8s.io/v1/clusterroles": http.StatusOK,
				"/openapi/v3":     http.StatusOK,
				"/api/v1/secrets": http.StatusForbidden,
				"/api/v1/namespaces/default/secrets/out-of-reach": http.StatusForbidden,
				"/api/v1/watch/secrets":                           http.StatusForbidden,
				"//api/v1/secrets":                                http.StatusForbidden,
				"/apis/x.y/../../api/v1/secrets":                  0,
				"/api/v1/pods":                                    http.StatusForbidden,
				"/metrics":                                        http.StatusForbidden,
				"/debug/pprof/heap":                               http.StatusForbidden,
			} {
				got, err := get(t, address, config, path, nil)
				if err != nil || want != 0 && got.Code != want || strings.Contains(string(got.Body), "out-of-reach") && got.Code == http.StatusOK {
					t.Errorf("%s at %s: %s: %s %v", peer, at, path, got, err)
				}
			}
			got, err := send(t, http.MethodPost, address, config, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding, nil)
			if err != nil || got.Code != http.StatusForbidden {
				t.Errorf("%s at %s makes itself an administrator: %s %v", peer, at, got, err)
			}
			got, err = get(t, address, config, "/api/v1/namespaces/default", http.Header{"Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"}})
			if err != nil || got.Code != http.StatusForbidden {
				t.Errorf("%s at %s is somebody else: %s %v", peer, at, got, err)
			}
		}
	}
}
