package core

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/warning"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
)

func yes() bool { return true }

// Upstream's authenticators answer from caches that are empty at first: what
// they say then would be a 401 for good tokens.
func TestNoTokenIsJudgedBeforeCoreIsReady(t *testing.T) {
	asked := false
	answer, err := newTokens(genericapiserver.AuthenticationInfo{
		Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			asked = true
			return nil, false, nil
		}),
	}, func() bool { return false }).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "x"})
	if answer != nil || status.Code(err) != codes.Unavailable || asked {
		t.Errorf("got %v, %v, asked %t", answer, err, asked)
	}
}

// What a header leaves of it may be nothing, and nothing is anonymous.
func TestATokenOfBlanksIsNobodys(t *testing.T) {
	for _, token := range []string{"", " ", " x", "a b", "x\n"} {
		answer, err := newTokens(genericapiserver.AuthenticationInfo{
			Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
				return &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}}, true, nil
			}),
		}, yes).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: token})
		if err != nil || answer.GetAuthenticated() {
			t.Errorf("%q: got %v, %v", token, answer, err)
		}
	}
	if ask(t, nil, func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: user.Anonymous}}, true, nil
	}).GetAuthenticated() {
		t.Error("a token made its bearer anonymous")
	}
}

// judge is what upstream's authenticator makes of a request.
type judge func(*http.Request) (*authenticator.Response, bool, error)

func ask(t *testing.T, own []string, f judge) *handshakev1.AuthenticateResponse {
	t.Helper()
	answer, err := newTokens(genericapiserver.AuthenticationInfo{
		APIAudiences: own, Authenticator: authenticator.RequestFunc(f),
	}, yes).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestAKnownTokenIsToldWithAllThatIsKnown(t *testing.T) {
	jane := &user.DefaultInfo{Name: "jane", UID: "7", Groups: []string{"a "}, Extra: map[string][]string{"Key": {"v"}}}
	got := ask(t, []string{"api"}, func(r *http.Request) (*authenticator.Response, bool, error) {
		if token := r.Header.Get("Authorization"); token != "Bearer secret" {
			t.Errorf("judged %q", token)
		}
		if audiences, _ := authenticator.AudiencesFrom(r.Context()); !slices.Equal(audiences, []string{"api"}) {
			t.Errorf("judged for %v", audiences)
		}
		audit.AddAuditAnnotation(r.Context(), "authentication.k8s.io/legacy-token", "ns/name")
		warning.AddWarning(r.Context(), "", "use another token")
		return &authenticator.Response{User: jane, Audiences: []string{"api"}}, true, nil
	})
	if !got.GetAuthenticated() || got.GetReason() != "" || !slices.Equal(got.GetAudiences(), []string{"api"}) {
		t.Errorf("got %v", got)
	}
	if u := identity.ToUser(got.GetUser()); !reflect.DeepEqual(u, jane) {
		t.Errorf("the user is %v, want %v", u, jane)
	}
	if want := map[string]string{"authentication.k8s.io/legacy-token": "ns/name"}; !reflect.DeepEqual(got.GetAuditAnnotations(), want) {
		t.Errorf("the annotations are %v", got.GetAuditAnnotations())
	}
	if !slices.Equal(got.GetWarnings(), []string{"use another token"}) {
		t.Errorf("the warnings are %v", got.GetWarnings())
	}
}

func TestATokenThatIsNotAcceptedNamesNobody(t *testing.T) {
	jane := &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}, Audiences: []string{"api"}}
	for name, c := range map[string]struct {
		judge  judge
		reason bool
	}{
		"unknown":        {func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil }, false},
		"expired":        {func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, errors.New("expired") }, true},
		"known, yet bad": {func(*http.Request) (*authenticator.Response, bool, error) { return jane, true, errors.New("revoked") }, true},
		"another's": {func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: jane.User, Audiences: []string{"vault"}}, true, nil
		}, true},
	} {
		got := ask(t, []string{"api"}, c.judge)
		if got.GetAuthenticated() || got.GetUser() != nil || got.GetAudiences() != nil {
			t.Errorf("%s: got %v", name, got)
		}
		if (got.GetReason() != "") != c.reason {
			t.Errorf("%s: the reason is %q", name, got.GetReason())
		}
	}
}

func TestWhichAudiencesAreTheAPIs(t *testing.T) {
	for name, c := range map[string]struct {
		own, token []string
		want       bool
	}{
		"neither says":  {nil, nil, true},
		"token silent":  {[]string{"api"}, nil, true},
		"API silent":    {nil, []string{"vault"}, true},
		"the same":      {[]string{"api"}, []string{"api"}, true},
		"one in common": {[]string{"a", "b"}, []string{"b", "c"}, true},
		"none":          {[]string{"a"}, []string{"b"}, false},
	} {
		got := ask(t, c.own, func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "jane"}, Audiences: c.token}, true, nil
		})
		if got.GetAuthenticated() != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// An answer would be taken for a verdict.
func TestWithoutAnAuthenticatorNothingCouldBeFoundOut(t *testing.T) {
	answer, err := newTokens(genericapiserver.AuthenticationInfo{}, yes).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "x"})
	if answer != nil || status.Code(err) != codes.FailedPrecondition {
		t.Errorf("got %v, %v", answer, err)
	}
}
