package spine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// direct is a cluster without an aggregator, and its insecure port.
type direct struct {
	*harness.Cluster
	insecure string
}

// In direct mode core is the head: clients of both ports reach it, it judges them
// by its whole chain, and extensions is behind its router.
func TestDirectModeServesCoreWithoutAggregator(t *testing.T) {
	t.Parallel() // it waits more than it works
	dir, port := harness.TempDir(t), harness.Must(harness.FreePort())(t)
	d := &direct{insecure: fmt.Sprintf("http://127.0.0.1:%d", port)}
	d.Cluster = harness.Run(t, harness.Options{
		Dir: dir, Env: []string{"KUBE_API_VERSIONS=v1"}, Args: []string{fmt.Sprintf("--insecure-port=%d", port)},
	})
	const group = "direct.example.com"
	gadgets := installCRD(t, &d.API, group)
	path := createGadget(t, &d.API, group, "one")

	t.Run("no aggregator", d.hasNoAggregator)
	t.Run("discovery", func(t *testing.T) { d.discovers(t, gadgets.Group) })
	t.Run("clients are judged", func(t *testing.T) { d.judges(t, path) })
	t.Run("tokens", d.knowsTokens)
	t.Run("insecure port", func(t *testing.T) { d.servesThisMachine(t, path) })
	t.Run("inner listeners", d.refusesStrangers)
	t.Run("a new core", func(t *testing.T) {
		token := d.token(t, "survivor")
		kill(t, d.Cluster, "core")
		// Until core has read who there is, a 401 or 404 would be a lie.
		if _, err := whoami(t, token); err != nil {
			t.Error(err)
		}
		served(t, &d.API, path)
	})
	t.Run("a new extensions", func(t *testing.T) {
		kill(t, d.Cluster, "extensions")
		served(t, &d.API, path)
	})
	d.Stop(t)

	t.Run("and back", func(t *testing.T) {
		c := harness.Run(t, harness.Options{Dir: dir})
		served(t, &c.API, path)
		served(t, &c.API, "/apis/apiregistration.k8s.io/v1/apiservices/v1."+group)
	})
}

func (d *direct) hasNoAggregator(t *testing.T) {
	if pids := d.WaitReady(t).PIDs(); pids["core"] == 0 || pids["extensions"] == 0 || pids["aggregator"] != 0 {
		t.Errorf("the tiers are %v", pids)
	}
	for _, p := range harness.ProcsOf(d.Dir) {
		if strings.HasSuffix(p.Args[0], "/aggregator") {
			t.Errorf("%s runs", p)
		}
	}
	if answer := d.Get(t, "/apis/apiregistration.k8s.io/v1/apiservices"); answer.Code != http.StatusNotFound {
		t.Errorf("APIServices: %s", answer)
	}
	if _, said, code := d.Supervisor(t.Context(), "restart", "aggregator"); code == 0 || !strings.Contains(said, "unknown tier") {
		t.Errorf("restart aggregator ends with %d: %s", code, said)
	}
}

// discovers expects groups of both tiers in every form, built-in ones first.
func (d *direct) discovers(t *testing.T, group string) {
	for _, accept := range []string{"application/json", aggregatedDiscovery} {
		harness.Eventually(t, soon, group+" is in discovery as "+accept, func() error {
			body := string(d.Get(t, "/apis", "Accept", accept).Body)
			apps, custom := strings.Index(body, `"apps"`), strings.Index(body, `"`+group+`"`)
			if apps < 0 || custom < apps || !strings.Contains(body, `"apiextensions.k8s.io"`) {
				return fmt.Errorf("%s", body)
			}
			return nil
		})
	}
	if out := d.Kubectl(t, "get", "gadgets", "-o", "name"); !strings.Contains(out, "/one") {
		t.Errorf("kubectl get gadgets prints %q", out)
	}
	if body := string(d.Get(t, "/openapi/v3").Body); !strings.Contains(body, "apis/apps/v1") || strings.Contains(body, group) {
		t.Errorf("OpenAPI is not core's own: %s", body)
	}
	d.KubectlInput(t, crd("gone."+group), "create", "-f", "-")
	d.Kubectl(t, "delete", "crd", "gadgets.gone."+group)
	harness.Eventually(t, soon, "the group of a deleted CRD leaves discovery", func() error {
		for _, accept := range []string{"application/json", aggregatedDiscovery} {
			if body := string(d.Get(t, "/apis", "Accept", accept).Body); strings.Contains(body, "gone."+group) {
				return fmt.Errorf("it is in %s", accept)
			}
		}
		return nil
	})
}

// judges expects authentication, authorization and impersonation to act, on what
// core serves and on what extensions does.
func (d *direct) judges(t *testing.T, gadget string) {
	bob := d.ConfigFor(t, harness.Must(d.CA(t).Issue(harness.Leaf{CommonName: "bob", Usage: clientAuth}))(t))
	masked := d.Config(t)
	masked.Impersonate.UserName = "bob"
	for _, path := range []string{"/api/v1/namespaces/default/secrets", gadget} {
		for want, config := range map[string]*rest.Config{`User \"bob\"`: bob, `User \"system:anonymous\"`: d.Anonymous(t)} {
			got := harness.Must(harness.Send(t.Context(), config, http.MethodGet, path, ""))(t)
			if got.Code != http.StatusForbidden || !strings.Contains(string(got.Body), want) {
				t.Errorf("%s: %s, want 403 of %s", path, got, want)
			}
		}
		if got := harness.Must(harness.Send(t.Context(), masked, http.MethodGet, path, ""))(t); got.Code != http.StatusForbidden {
			t.Errorf("%s as an impersonated user: %s", path, got)
		}
		spoofed := d.Get(t, path, identity.Header, "anything")
		if spoofed.Code != http.StatusOK {
			t.Errorf("%s with a header of ours: %s", path, spoofed)
		}
	}
}

// token returns the configuration of a new service account.
func (d *direct) token(t *testing.T, name string) *rest.Config {
	t.Helper()
	accounts := d.Clientset(t).CoreV1().ServiceAccounts("default")
	harness.Must(accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	request := harness.Must(accounts.CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
	config := d.Anonymous(t)
	config.BearerToken = request.Status.Token
	return config
}

func (d *direct) knowsTokens(t *testing.T) {
	config := d.token(t, "robot")
	if user := harness.Must(whoami(t, config))(t); user.Username != "system:serviceaccount:default:robot" {
		t.Errorf("the token makes %+v", user)
	}
	config.BearerToken = "wrong"
	if _, err := whoami(t, config); !apierrors.IsUnauthorized(err) {
		t.Errorf("a wrong token: %v", err)
	}
}

func (d *direct) servesThisMachine(t *testing.T, gadget string) {
	config := &rest.Config{Host: d.insecure}
	if user := harness.Must(whoami(t, config))(t); user.Username != "system:unsecured" || !slices.Contains(user.Groups, "system:masters") {
		t.Errorf("the insecure port makes %+v", user)
	}
	if got := harness.Must(harness.Send(t.Context(), config, http.MethodGet, gadget, ""))(t); got.Code != http.StatusOK {
		t.Errorf("%s", got)
	}
}

// refusesStrangers: what an aggregator may do elsewhere, nobody may here.
func (d *direct) refusesStrangers(t *testing.T) {
	in := insideOf(t, d.Cluster)
	address := d.WaitReady(t).Replica("core").Address
	for peer, admitted := range map[string]bool{
		"supervisor/delegation": true, "core/self": true, "extensions/self": true,
		"aggregator/delegation": false, "aggregator/self": false, "core/delegation": false,
	} {
		config := in.config(tier.Core, in.forge(t, peer))
		got, err := get(t, address, config, "/version", stamped(t))
		if (err == nil && got.Code == http.StatusOK) != admitted {
			t.Errorf("%s: %v, %v; admitted should be %v", peer, got, err, admitted)
		}
	}
}
