package authentication

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
)

func TestEachTokenIsAskedAboutEveryTime(t *testing.T) {
	judge := &core{}
	for range 2 {
		if response, ok, err := (Tokens{judge}).AuthenticateToken(t.Context(), "good"); !ok || err != nil || len(response.Audiences) != 1 {
			t.Errorf("got %v, %v, %v", response, ok, err)
		}
	}
	if len(judge.asked) != 2 {
		t.Errorf("core was asked %d times: a token that was revoked in between lives on", len(judge.asked))
	}
}

func TestWhyATokenIsBadIsAnErrorAndThatCoreIsAwayAnother(t *testing.T) {
	_, ok, err := Tokens{&core{}}.AuthenticateToken(t.Context(), "expired")
	if ok || err == nil || err.Error() != "the token has expired" || errors.Is(err, ErrUnavailable) {
		t.Errorf("expired: got %v, %v", ok, err)
	}
	if _, ok, err := (Tokens{&core{}}).AuthenticateToken(t.Context(), "unknown"); ok || err != nil {
		t.Errorf("unknown: got %v, %v", ok, err)
	}
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.PermissionDenied, codes.Internal} {
		_, ok, err := Tokens{&core{err: status.Error(code, "x")}}.AuthenticateToken(t.Context(), "good")
		if ok || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v: got %v, %v", code, ok, err)
		}
	}
}

// silent never answers.
type silent struct{}

func (silent) Authenticate(ctx context.Context, _ *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestNobodyWaitsForEverForAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, ok, err := Tokens{silent{}}.AuthenticateToken(t.Context(), "good")
		if ok || !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, %v", ok, err)
		}
		if waited := time.Since(start); waited != tokenTimeout {
			t.Errorf("waited %v, want %v", waited, tokenTimeout)
		}
	})
}
