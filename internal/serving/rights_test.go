package serving

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"

	"triptych.dev/triptych/internal/authorization"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/tier"
)

// ruled is a configuration with upstream's RBAC, by which jane may do everything.
func ruled(t *testing.T) *genericapiserver.Config {
	t.Helper()
	told := informers.NewSharedInformerFactory(nil, 0)
	for informer, object := range map[interface{ Add(any) error }]any{
		told.Rbac().V1().ClusterRoles().Informer().GetStore(): &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}, {NonResourceURLs: []string{"*"}, Verbs: []string{"*"}}}},
		told.Rbac().V1().ClusterRoleBindings().Informer().GetStore(): &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jane"},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "all"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}}},
	} {
		if err := informer.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	o, c := authorization.NewOptions(), newConfigOf(t)
	o.Modes = []string{"Node", "RBAC"}
	if err := o.ApplyTo(t.Context(), c, told); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNobodyIsJudgedByRightsThatAreTooOld(t *testing.T) {
	c, old := ruled(t), rights.NewFeed()
	old.Follow(t.Context(), time.Minute, func(context.Context) error { return nil })
	for name, want := range map[string]struct {
		who     user.Info
		path    string
		header  string
		current int
		old     int
	}{
		"by a binding":             {&user.DefaultInfo{Name: "jane"}, "/apis/example.org/v1/things", "", http.StatusTeapot, http.StatusServiceUnavailable},
		"a path by a binding":      {&user.DefaultInfo{Name: "jane"}, "/metrics", "", http.StatusTeapot, http.StatusServiceUnavailable},
		"by none":                  {&user.DefaultInfo{Name: "bob"}, "/apis/example.org/v1/things", "", http.StatusForbidden, http.StatusServiceUnavailable},
		"by a group":               {&user.DefaultInfo{Name: "root", Groups: []string{user.SystemPrivilegedGroup}}, "/apis/example.org/v1/things", "", http.StatusTeapot, http.StatusTeapot},
		"by a group, as another":   {&user.DefaultInfo{Name: "root", Groups: []string{user.SystemPrivilegedGroup}}, "/apis/example.org/v1/things", "jane", http.StatusTeapot, http.StatusServiceUnavailable},
		"a node by its fixed rule": {&user.DefaultInfo{Name: "system:node:n", Groups: []string{user.NodesGroup}}, "/apis/node.k8s.io/v1/runtimeclasses", "", http.StatusTeapot, http.StatusTeapot},
		"health by a binding":      {&user.DefaultInfo{Name: "jane"}, "/livez/ping", "", http.StatusTeapot, http.StatusTeapot},
		"health by none":           {&user.DefaultInfo{Name: "bob"}, "/readyz", "", http.StatusForbidden, http.StatusForbidden},
		"nobody":                   {nil, "/apis/example.org/v1/things", "", http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			authn := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
				return &authenticator.Response{User: want.who}, want.who != nil, nil
			})
			here := *c
			here.Authentication.Authenticator = authn
			chain := genericapiserver.DefaultBuildHandlerChain(named(http.StatusTeapot), &here)
			for _, asked := range []struct {
				feed *rights.Feed
				want int
			}{{rights.NewFeed(), want.current}, {old, want.old}} {
				r := httptest.NewRequest(http.MethodGet, want.path, http.NoBody)
				if want.header != "" {
					r.Header.Set("Impersonate-User", want.header)
				}
				w := call(WithRights(chain, asked.feed, authn, &here), r)
				if w.Code != asked.want {
					t.Errorf("too old is %v: got %d, want %d: %s", asked.feed == old, w.Code, asked.want, w.Body)
				}
				if (w.Code == http.StatusServiceUnavailable) != (w.Header().Get("Retry-After") != "") {
					t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
				}
			}
		})
	}
}

// What informers are fed by is never refused for want of what they feed.
func TestTheTiersOwnCallsPassHoweverOldRightsAre(t *testing.T) {
	old := rights.NewFeed()
	old.Follow(t.Context(), time.Minute, func(context.Context) error { return nil })
	handler := startInner(t, WithIdentity(WithRights(named(http.StatusTeapot), old, InnerAuthenticator, ruled(t))))
	if resp, _ := handler.get(identity.Peer{Name: tier.Extensions, Role: identity.Self}, "/apis/example.org/v1/things", nil); resp.StatusCode != http.StatusTeapot {
		t.Errorf("got %d", resp.StatusCode)
	}
}
