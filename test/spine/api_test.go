package spine

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

func TestCustomResourcesAreServed(t *testing.T) {
	c := harness.Shared(t)
	const group = "crud.example.com"
	gadgets := installCRD(t, &c.API, group)
	client := c.Dynamic(t).Resource(gadgets).Namespace("default")
	ctx := t.Context()

	createGadget(t, &c.API, group, "one")
	if _, err := client.Create(ctx, gadget(group, "bad", 0), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a gadget that its schema forbids is created: %v", err)
	}
	patched := harness.Must(client.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"size":5}}`), metav1.PatchOptions{}))(t)
	if size := patched.Object["spec"].(map[string]any)["size"]; size != int64(5) {
		t.Errorf("size is %v after the patch", size)
	}
	patched.Object["status"] = map[string]any{"phase": "Good"}
	updated := harness.Must(client.UpdateStatus(ctx, patched, metav1.UpdateOptions{}))(t)
	if phase := updated.Object["status"].(map[string]any)["phase"]; phase != "Good" {
		t.Errorf("phase is %v", phase)
	}
	if out := c.Kubectl(t, "get", "gadgets."+group, "one", "-o", "jsonpath={.spec.size}/{.status.phase}"); out != "5/Good" {
		t.Errorf("kubectl sees %q", out)
	}
	c.KubectlInput(t, "apiVersion: "+group+"/v1\nkind: Gadget\nmetadata: {name: two}\nspec: {size: 2}\n", "apply", "-f", "-")
	if list := harness.Must(client.List(ctx, metav1.ListOptions{}))(t); len(list.Items) != 2 {
		t.Errorf("%d gadgets are listed", len(list.Items))
	}
	if err := client.Delete(ctx, "one", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if got := c.Get(t, gadgetsPath(group)+"/one"); got.Code != http.StatusNotFound {
		t.Errorf("a deleted gadget answers %s", got)
	}
	c.Kubectl(t, "delete", "crd", "gadgets."+group)
	harness.Eventually(t, soon, "the group is gone", func() error {
		if got := c.Get(t, "/apis/"+group+"/v1"); got.Code != http.StatusNotFound {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

// Every group has its APIService, built-in and custom, and all are available.
func TestAPIServicesAreRegistered(t *testing.T) {
	c := harness.Shared(t)
	const group = "registered.example.com"
	installCRD(t, &c.API, group)
	harness.Eventually(t, soon, "APIServices of built-in and custom groups", func() error {
		out := c.Kubectl(t, "get", "apiservices", "-o",
			`jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Available")].status}{"\n"}{end}`)
		for _, want := range []string{"v1.=True", "v1.apps=True", "v1.apiextensions.k8s.io=True", "v1." + group + "=True"} {
			if !strings.Contains("\n"+out, "\n"+want+"\n") {
				return fmt.Errorf("no %s in:\n%s", want, out)
			}
		}
		return nil
	})
}

// What is written is seen by a watch at once, through every hop it takes.
func TestWatchSeesEventsAtOnce(t *testing.T) {
	c := harness.Shared(t)
	const group = "watched.example.com"
	gadgets := c.Dynamic(t).Resource(installCRD(t, &c.API, group)).Namespace("default")
	configMaps := c.Clientset(t).CoreV1().ConfigMaps("default")
	ctx := t.Context()

	for name, resource := range map[string]struct {
		watch  func(context.Context, metav1.ListOptions) (watch.Interface, error)
		create func(name string) error
	}{
		"core": {configMaps.Watch, func(name string) error {
			_, err := configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			return err
		}},
		"custom resource": {gadgets.Watch, func(name string) error {
			_, err := gadgets.Create(ctx, gadget(group, name, 1), metav1.CreateOptions{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.Must(resource.watch(ctx, metav1.ListOptions{}))(t)
			defer w.Stop()
			seenAtOnce(t, w, resource.create)
		})
	}
}

// seenAtOnce creates objects and expects the watch to report each within a second, but for one that a busy machine may
// have held up: what is buffered on the way is late every time.
func seenAtOnce(t *testing.T, w watch.Interface, create func(name string) error) {
	t.Helper()
	var late []time.Duration
	for i := range 5 {
		object := fmt.Sprintf("seen-%d", i)
		if err := create(object); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		seen(t, w, object)
		if took := time.Since(written); took > time.Second {
			late = append(late, took)
		}
	}
	if len(late) > 1 {
		t.Errorf("objects were seen %v after they were written", late)
	}
}

// seen waits until the watch reports an object of that name.
func seen(t *testing.T, w watch.Interface, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				t.Fatal("the watch has ended")
			}
			if object, ok := event.Object.(metav1.Object); ok && object.GetName() == name {
				return
			}
		case <-ctx.Done():
			t.Fatalf("%s is not seen", name)
		}
	}
}

// whoami asks core who the caller is.
func whoami(t *testing.T, config *rest.Config) (authenticationv1.UserInfo, error) {
	t.Helper()
	client := harness.Must(kubernetes.NewForConfig(config))(t)
	review, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return review.Status.UserInfo, nil
}

// Impersonation is judged where the request is served, in every tier alike.
func TestImpersonation(t *testing.T) {
	c := harness.Shared(t)
	const group = "impersonated.example.com"
	installCRD(t, &c.API, group)
	paths := map[string]string{
		"core":       "/api/v1/namespaces/default/secrets",
		"extensions": gadgetsPath(group),
		"aggregator": "/apis/apiregistration.k8s.io/v1/apiservices",
	}
	asAlice := []string{"Impersonate-User", "alice"}
	asMaster := append(asAlice, "Impersonate-Group", "system:masters")
	for tier, path := range paths {
		if got := c.Get(t, path, asAlice...); got.Code != http.StatusForbidden || !strings.Contains(string(got.Body), "alice") {
			t.Errorf("%s: as alice, who may nothing: %s", tier, got)
		}
		if got := c.Get(t, path, asMaster...); got.Code != http.StatusOK {
			t.Errorf("%s: as alice in system:masters: %s", tier, got)
		}
	}
	config := c.Config(t)
	config.Impersonate = rest.ImpersonationConfig{UserName: "alice", UID: "7", Groups: []string{"g1", "g2"},
		Extra: map[string][]string{"example.com/key": {"v"}}}
	user := harness.Must(whoami(t, config))(t)
	if user.Username != "alice" || user.UID != "7" || user.Extra["example.com/key"][0] != "v" || len(user.Groups) != 3 {
		t.Errorf("core sees %+v", user)
	}

	// Whoever may not impersonate may not do it further in either.
	mallory := harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "mallory", Usage: clientAuth}))(t)
	for tier, path := range paths {
		got := harness.Must(harness.Send(t.Context(), c.ConfigFor(t, mallory), http.MethodGet, path, "", asMaster...))(t)
		if got.Code != http.StatusForbidden || !strings.Contains(string(got.Body), "impersonate") {
			t.Errorf("%s: mallory impersonates: %s", tier, got)
		}
	}
}

// Rights given and taken by RBAC count in every tier, as soon as caches are told.
func TestRBACCountsInEveryTier(t *testing.T) {
	c := harness.Shared(t)
	const group = "rbac.example.com"
	installCRD(t, &c.API, group)
	bob := c.ConfigFor(t, harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "bob", Usage: clientAuth}))(t))
	paths := []string{"/api/v1/namespaces/default/configmaps", gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices", "/metrics/slis"}
	const told = 2 * time.Second // stock needs 0.1 s at worst; this machine is busy
	answers := func(want int) {
		t.Helper()
		for _, path := range paths {
			harness.Eventually(t, told, fmt.Sprintf("%s answers %d", path, want), func() error {
				if got := harness.Must(harness.Send(t.Context(), bob, http.MethodGet, path, ""))(t); got.Code != want {
					return fmt.Errorf("%s", got)
				}
				return nil
			})
		}
	}
	answers(http.StatusForbidden)
	roles := c.Clientset(t).RbacV1()
	harness.Must(roles.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"*"}, Resources: []string{"configmaps", "gadgets", "apiservices"}, Verbs: []string{"list"}},
			{NonResourceURLs: []string{"/metrics/*"}, Verbs: []string{"get"}},
		},
	}, metav1.CreateOptions{}))(t)
	for range 5 {
		harness.Must(roles.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bob-reads"},
			RoleRef:    rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "reader"},
			Subjects:   []rbacv1.Subject{{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: "bob"}},
		}, metav1.CreateOptions{}))(t)
		answers(http.StatusOK)
		if err := roles.ClusterRoleBindings().Delete(t.Context(), "bob-reads", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		answers(http.StatusForbidden)
	}
}

// A token of a service account is good until the account is gone; a wrong one
// never is.
func TestServiceAccountTokens(t *testing.T) {
	c := harness.Shared(t)
	client := c.Clientset(t).CoreV1()
	ctx := t.Context()
	harness.Must(client.ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}))(t)
	request := harness.Must(client.ServiceAccounts("default").CreateToken(ctx, "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)

	config := c.Anonymous(t)
	config.BearerToken = request.Status.Token
	user := harness.Must(whoami(t, config))(t)
	if user.Username != "system:serviceaccount:default:robot" || user.UID == "" {
		t.Errorf("the token makes %+v", user)
	}
	wrong := rest.CopyConfig(config)
	wrong.BearerToken = config.BearerToken[:len(config.BearerToken)-8] + "AAAAAAAA"
	if _, err := whoami(t, wrong); !apierrors.IsUnauthorized(err) {
		t.Errorf("a forged token: %v", err)
	}
	if err := client.ServiceAccounts("default").Delete(ctx, "robot", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Ten seconds is how long stock remembers a token.
	harness.Eventually(t, soon, "the token is refused", func() error {
		if _, err := whoami(t, config); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// /readyz?verbose lists what every tier checks, so that one look tells what is
// missing.
func TestReadyzListsTheChecksOfEveryTier(t *testing.T) {
	c, stock := harness.Shared(t), harness.SharedStock(t)
	ours := c.Get(t, "/readyz?verbose")
	if ours.Code != http.StatusOK {
		t.Fatalf("/readyz: %s", ours)
	}
	for _, line := range lines(string(stock.Get(t, "/readyz?verbose").Body)) {
		check, ok := strings.CutPrefix(strings.TrimSuffix(line, " ok"), "[+]")
		if ok && !strings.Contains(string(ours.Body), check) {
			t.Errorf("check %s of the stock server is not listed in:\n%s", check, ours.Body)
		}
	}
	for _, path := range []string{"/livez", "/healthz", "/readyz"} {
		if got := harness.Must(harness.Send(t.Context(), c.Anonymous(t), http.MethodGet, path, ""))(t); got.Code != http.StatusOK || string(got.Body) != "ok" {
			t.Errorf("%s answers the anonymous %s", path, got)
		}
	}
}
