package authentication

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/warning"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// Of upstream's watch of a CA file that could not be read.
		goleak.IgnoreAnyFunction("k8s.io/client-go/util/workqueue.(*Typed[...]).updateUnfinishedWorkLoop"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/util/workqueue.(*delayingType[...]).waitingLoop"))
}

// core is a judge who knows one token, calls another bad, and is away if err is set.
type core struct {
	err   error
	asked []string
}

func (c *core) Authenticate(_ context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	c.asked = append(c.asked, r.GetToken())
	if _, err := proto.Marshal(r); err != nil {
		return nil, status.Error(codes.Internal, err.Error()) // as gRPC does
	}
	if c.err != nil {
		return nil, c.err
	}
	switch r.GetToken() {
	case "good":
		return &handshakev1.AuthenticateResponse{
			Authenticated:    true,
			User:             identity.FromUser(&user.DefaultInfo{Name: "jane", Groups: []string{"a"}, Extra: map[string][]string{"Key": {"v"}}}),
			Audiences:        []string{"api"},
			AuditAnnotations: map[string]string{"authentication.k8s.io/legacy-token": "ns/name"},
			Warnings:         []string{"use another token"},
		}, nil
	case "expired":
		return &handshakev1.AuthenticateResponse{Reason: "the token has expired"}, nil
	}
	return &handshakev1.AuthenticateResponse{}, nil
}

// warnings is a warning.Recorder.
type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

// answer is what became of one request on the public port.
type answer struct {
	*httptest.ResponseRecorder
	user        user.Info // nil: nobody is behind it
	err         error     // what the chain is told
	reached     bool
	annotations map[string]string
	warnings    warnings
}

func ask(t *testing.T, judge Judge, header http.Header) *answer {
	t.Helper()
	authn, err := NewOptions().ApplyTo(&genericapiserver.Config{}, Tokens{Judge: judge})
	if err != nil {
		t.Fatal(err)
	}
	return askWith(authn, header)
}

func askWith(authn authenticator.Request, header http.Header) *answer {
	a := &answer{ResponseRecorder: httptest.NewRecorder()}
	chain := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		a.reached = true
		r = r.WithContext(warning.WithWarningRecorder(audit.WithAuditContext(r.Context()), &a.warnings))
		response, ok, err := VerdictAuthenticator(r)
		if a.err = err; ok && err == nil {
			a.user = response.User
		}
		a.annotations = audit.AuditContextFrom(r.Context()).GetEventAnnotations()
	})
	r := httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil)
	if header != nil {
		r.Header = header
	}
	WithVerdict(chain, authn).ServeHTTP(a, r)
	return a
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestWhoIsBehindARequest(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		want   string // empty: nobody
		fails  bool
	}{
		"no credential":      {nil, user.Anonymous, false},
		"a good token":       {bearer("good"), "jane", false},
		"an unknown token":   {bearer("unknown"), "", true},
		"an expired token":   {bearer("expired"), "", true},
		"an empty token":     {bearer(""), user.Anonymous, false},
		"another scheme":     {http.Header{"Authorization": {"Basic amFuZTp4"}}, user.Anonymous, false},
		"a proxy nobody set": {http.Header{"X-Remote-User": {"jane"}, "X-Remote-Group": {"system:masters"}}, user.Anonymous, false},
		// No text at all: it could not even be asked about.
		"a token of odd bytes": {bearer("\xff\xfe"), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, &core{}, c.header)
			if !got.reached {
				t.Fatalf("the chain, which answers 401 and audits it, was not reached: %d", got.Code)
			}
			switch {
			case c.want == "" && got.user != nil:
				t.Errorf("served as %v", got.user)
			case c.want != "" && (got.user == nil || got.user.GetName() != c.want):
				t.Errorf("served as %v, want %s", got.user, c.want)
			}
			if (got.err != nil) != c.fails {
				t.Errorf("the chain is told %v", got.err)
			}
		})
	}
}

func TestAKnownUserIsWhatCoreSaysAndAuthenticated(t *testing.T) {
	got := ask(t, &core{}, bearer("good"))
	want := &user.DefaultInfo{Name: "jane", Groups: []string{"a", user.AllAuthenticated}, Extra: map[string][]string{"Key": {"v"}}}
	if !reflect.DeepEqual(got.user, want) {
		t.Errorf("got %v, want %v", got.user, want)
	}
}

func TestWhatCoreNotesReachesTheAuditLogAndTheClient(t *testing.T) {
	got := ask(t, &core{}, bearer("good"))
	if want := map[string]string{"authentication.k8s.io/legacy-token": "ns/name"}; !reflect.DeepEqual(got.annotations, want) {
		t.Errorf("the audit log gets %v, want %v", got.annotations, want)
	}
	if !slices.Equal(got.warnings, []string{"use another token"}) {
		t.Errorf("the client is warned of %v", got.warnings)
	}
}

// Upstream's authenticator warns of it, and the response that the warning is for
// is made further in.
func TestWhoPutsABlankTooManyIsTold(t *testing.T) {
	got := ask(t, &core{}, http.Header{"Authorization": {"Bearer  good"}})
	if len(got.warnings) != 1 || !strings.Contains(got.warnings[0], "extra space") {
		t.Errorf("the client is warned of %q", got.warnings)
	}
}

// A 401 would say that the token is bad, after which controllers exit.
func TestWithoutCoreATokenIsNeitherGoodNorBad(t *testing.T) {
	away := &core{err: status.Error(codes.Unavailable, "connection refused")}
	for name, header := range map[string]http.Header{
		"bearer": bearer("good"),
		"websocket": {
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io.Z29vZA, v5.channel.k8s.io"},
		},
	} {
		got := ask(t, away, header)
		if got.reached || got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got %d, Retry-After %q, reached the chain: %v", name, got.Code, got.Header().Get("Retry-After"), got.reached)
		}
	}
	if len(away.asked) != 2 {
		t.Errorf("core was asked about %v", away.asked)
	}
}

func TestWithoutCoreWhoHasNoTokenIsServed(t *testing.T) {
	away := &core{err: errors.New("away")}
	if got := ask(t, away, nil); !got.reached || got.user.GetName() != user.Anonymous {
		t.Errorf("got %d, %v", got.Code, got.user)
	}
	if len(away.asked) != 0 {
		t.Errorf("core was asked about %q", away.asked)
	}
}

func TestNobodyCouldBeAskedIsFoundInAnyWrapping(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"itself":          {ErrUnavailable, http.StatusServiceUnavailable},
		"joined":          {errors.Join(errors.New("x509"), ErrUnavailable), http.StatusServiceUnavailable},
		"aggregated":      {utilerrors.NewAggregate([]error{errors.New("x509"), ErrUnavailable}), http.StatusServiceUnavailable},
		"a bad token":     {errors.New("expired"), http.StatusOK},
		"aggregated, bad": {utilerrors.NewAggregate([]error{errors.New("x509"), errors.New("expired")}), http.StatusOK},
	} {
		got := askWith(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, c.err }), nil)
		if got.Code != c.want || got.user != nil {
			t.Errorf("%s: got %d for %v, want %d", name, got.Code, got.user, c.want)
		}
	}
}

func TestWithoutAVerdictNobodyIsBehindARequest(t *testing.T) {
	if response, ok, err := VerdictAuthenticator(httptest.NewRequest(http.MethodGet, "/", nil)); ok || err != nil {
		t.Errorf("got %v, %v", response, err)
	}
}

func TestWithoutAnonymousUsersNobodyIsOne(t *testing.T) {
	o := NewOptions()
	o.Anonymous = false
	authn, err := o.ApplyTo(&genericapiserver.Config{}, Tokens{Judge: &core{}})
	if err != nil {
		t.Fatal(err)
	}
	if got := askWith(authn, nil); got.user != nil {
		t.Errorf("served as %v", got.user)
	}
}

func TestAClientCAThatCannotBeReadIsNamed(t *testing.T) {
	o := NewOptions()
	o.ClientCert.ClientCA = t.TempDir() + "/nowhere.crt"
	if _, err := o.ApplyTo(&genericapiserver.Config{}, Tokens{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
