package authentication

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/serving"
)

func TestAGoodTokenIsRememberedForItsPartOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge, life := &core{}, "first"
		m := NewMemory(judge, func() string { return life })
		ask := func(token string, want int, what string) {
			t.Helper()
			a, err := m.Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: token})
			if err != nil || a.GetAuthenticated() != (token == "good") {
				t.Errorf("%s: %v %v", what, a, err)
			}
			if len(judge.asked) != want {
				t.Errorf("%s: core was asked %d times, want %d", what, len(judge.asked), want)
			}
		}
		ask("good", 1, "the first time")
		time.Sleep(serving.HeadTokenMemory - time.Millisecond)
		ask("good", 1, "soon after")
		time.Sleep(2 * time.Millisecond)
		ask("good", 2, "later, and asking again in between keeps nothing alive")
		ask("unknown", 3, "a bad one")
		ask("unknown", 4, "a bad one again")
		life = "second"
		ask("good", 5, "in another life of core")
		ask("good", 5, "again there")
		life = ""
		ask("good", 6, "while core is away")
		life = "second"
		a, err := m.Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "good", Audiences: []string{"other"}})
		if err != nil || len(judge.asked) != 7 {
			t.Errorf("for another audience: %v %v", a, err)
		}
	})
}

// slowCore takes its time to answer.
type slowCore struct{ core }

func (c *slowCore) Authenticate(ctx context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	answer, err := c.core.Authenticate(ctx, r)
	time.Sleep(serving.HeadTokenMemory / 2)
	return answer, err
}

// A token that is revoked while the answer is on its way must not live longer for that.
func TestATokenIsRememberedFromTheQuestionOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		judge := &slowCore{}
		m := NewMemory(judge, func() string { return "first" })
		for range 2 {
			if a, err := m.Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "good"}); err != nil || !a.GetAuthenticated() {
				t.Fatal(a, err)
			}
			time.Sleep(serving.HeadTokenMemory/2 + time.Millisecond)
		}
		if len(judge.asked) != 2 {
			t.Errorf("core was asked %d times", len(judge.asked))
		}
	})
}

func TestWhatCouldNotBeFoundOutIsNotRemembered(t *testing.T) {
	judge := &core{err: status.Error(codes.Unavailable, "x")}
	m := NewMemory(judge, func() string { return "first" })
	for range 2 {
		if _, err := m.Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "good"}); err == nil {
			t.Error("no error")
		}
	}
	if len(judge.asked) != 2 {
		t.Errorf("core was asked %d times", len(judge.asked))
	}
}

// The two parts are what kube-apiserver remembers (pkg/kubeapiserver/options).
func TestHeadAndCoreTogetherRememberAsLongAsKubeAPIServer(t *testing.T) {
	if sum := serving.HeadTokenMemory + serving.CoreTokenMemory; sum != 10*time.Second {
		t.Errorf("%s", sum)
	}
}
