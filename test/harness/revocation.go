package harness

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// TokenCacheTTL is how long kube-apiserver believes what it has found out about a
// token (kubeapiserver/options, TokenSuccessCacheTTL). It is not exported there.
const TokenCacheTTL = 10 * time.Second

// TimeToDie uses a token, takes it back at once, and returns how long the API
// went on to accept it. That is the worst case: its cache has just been filled.
func (r Revocable) TimeToDie(ctx context.Context, admin *rest.Config) (time.Duration, error) {
	bearer := rest.AnonymousClientConfig(admin)
	bearer.BearerToken = r.Token
	ask := func() (int, error) {
		answer, err := Send(ctx, bearer, http.MethodGet, "/version", "")
		return answer.Code, err
	}
	if err := Await(ctx, StartBound, "a token "+r.Kind+" is accepted", func() error {
		code, err := ask()
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("the answer is %d", code)
		}
		return err
	}); err != nil {
		return 0, err
	}
	if err := r.Revoke(ctx); err != nil {
		return 0, err
	}
	revoked := time.Now()
	err := Await(ctx, StartBound, "a token "+r.Kind+" is refused", func() error {
		code, err := ask()
		if err == nil && code != http.StatusUnauthorized {
			err = fmt.Errorf("the answer is %d", code)
		}
		return err
	})
	return time.Since(revoked), err
}
