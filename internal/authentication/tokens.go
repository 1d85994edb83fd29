package authentication

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"k8s.io/apiserver/pkg/authentication/authenticator"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
)

// tokenTimeout bounds the question to core. It is longer than core takes for a
// webhook that does not answer, 30 s: that is core's verdict to give, and a
// hanging core is replaced before.
const tokenTimeout = 40 * time.Second

// ErrUnavailable is what authentication fails with when core could not be
// asked. The client is told 503: a 401 would say that its token is bad, after
// which controllers exit.
var ErrUnavailable = errors.New("core cannot be asked about tokens")

// Judge asks core about a token.
type Judge interface {
	Authenticate(context.Context, *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error)
}

// Tokens is an authenticator.Token that has core judge.
type Tokens struct{ Judge Judge }

// AuthenticateToken implements authenticator.Token. Nothing is kept here: see Memory.
func (t Tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !utf8.ValidString(token) {
		// A bad token, and one that no message can carry: to ask would fail, and
		// the client hear that core is away.
		return nil, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	answer, err := t.Judge.Authenticate(ctx, &handshakev1.AuthenticateRequest{Token: token})
	if err != nil {
		return nil, false, errors.Join(ErrUnavailable, err)
	}
	note(ctx, answer)
	if !answer.GetAuthenticated() {
		if answer.GetReason() == "" {
			return nil, false, nil
		}
		return nil, false, errors.New(answer.GetReason())
	}
	return &authenticator.Response{User: identity.ToUser(answer.GetUser()), Audiences: answer.GetAudiences()}, true, nil
}
