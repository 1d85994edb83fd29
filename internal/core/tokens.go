package core

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"unicode"

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

// tokens judges bearer tokens for the head with upstream's own authenticator,
// cache included. It is no TokenReview: that would cost an authorization and an
// audit event, lose the audit annotations of old tokens, and turn "core is away"
// into 401, after which controllers exit.
type tokens struct {
	handshakev1.UnimplementedAuthenticatorServer
	authentication genericapiserver.AuthenticationInfo
	// ready tells whether core was ready once. Before, upstream's authenticators
	// look for Secrets and ServiceAccounts in empty caches, and say no.
	ready func() bool
}

func newTokens(authentication genericapiserver.AuthenticationInfo, ready func() bool) *tokens {
	return &tokens{authentication: authentication, ready: ready}
}

// Authenticate implements handshakev1.AuthenticatorServer.
func (t *tokens) Authenticate(ctx context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	if !t.ready() {
		return nil, status.Error(codes.Unavailable, "core is starting")
	}
	if t.authentication.Authenticator == nil {
		return nil, status.Error(codes.FailedPrecondition, "no authenticator is configured")
	}
	if r.GetToken() == "" || strings.ContainsFunc(r.GetToken(), unicode.IsSpace) {
		// A header would not carry it whole, and what is left of it might be
		// nothing, which is anonymous.
		return &handshakev1.AuthenticateResponse{Reason: "the token is blank or has blanks"}, nil
	}
	recorder := &warnings{}
	ctx = warning.WithWarningRecorder(audit.WithAuditContext(ctx), recorder)
	if audiences := t.authentication.APIAudiences; len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	request.Header.Set("Authorization", "Bearer "+r.GetToken())
	response, ok, err := t.authentication.Authenticator.AuthenticateRequest(request)

	answer := &handshakev1.AuthenticateResponse{
		Authenticated:    ok && err == nil && response.User.GetName() != user.Anonymous,
		Warnings:         recorder.all(),
		AuditAnnotations: audit.AuditContextFrom(ctx).GetEventAnnotations(),
	}
	if err != nil {
		answer.Reason = err.Error()
	}
	if answer.Authenticated && !t.acceptable(response.Audiences) {
		answer.Authenticated, answer.Reason = false, "the token is for another audience"
	}
	if answer.Authenticated {
		answer.User, answer.Audiences = identity.FromUser(response.User), response.Audiences
	}
	return answer, nil
}

// acceptable tells whether a token for these audiences is one for the API. Both
// sides may leave audiences out.
func (t *tokens) acceptable(audiences authenticator.Audiences) bool {
	own := t.authentication.APIAudiences
	return len(own) == 0 || len(audiences) == 0 || len(own.Intersect(audiences)) > 0
}

// warnings collects what authentication wants the client to hear.
type warnings struct {
	mu   sync.Mutex
	text []string
}

// AddWarning implements warning.Recorder.
func (w *warnings) AddWarning(_, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text
}
