package authentication

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/serving"
)

// maxTokens bounds the tokens of which is kept that they are good.
const maxTokens = 4096

// Memory is a Judge that asks another one, and gives what it said of a good token again
// for serving.HeadTokenMemory. Bad tokens are asked about every time. Core remembers for
// the rest of the time for which kube-apiserver does, so a revoked token lives no longer
// than there.
type Memory struct {
	judge Judge
	// life tells one life of core from the next. Empty while core is away: then nothing
	// is remembered.
	life func() string
	key  []byte
	kept *cache.LRUExpireCache
}

// NewMemory returns a Memory of what judge says. life is asked for every token.
func NewMemory(judge Judge, life func() string) *Memory {
	m := &Memory{judge: judge, life: life, key: make([]byte, sha256.Size), kept: cache.NewLRUExpireCache(maxTokens)}
	_, _ = rand.Read(m.key) // never fails
	return m
}

// remembered is what was said in a life of core. The answer is read by many at once.
type remembered struct {
	answer *handshakev1.AuthenticateResponse
	life   string
}

// Authenticate implements Judge.
func (m *Memory) Authenticate(ctx context.Context, r *handshakev1.AuthenticateRequest) (*handshakev1.AuthenticateResponse, error) {
	life := m.life()
	if life == "" || len(r.GetAudiences()) > 0 {
		return m.judge.Authenticate(ctx, r)
	}
	key := m.hash(r.GetToken())
	if kept, ok := m.kept.Get(key); ok && kept.(remembered).life == life {
		return kept.(remembered).answer, nil
	}
	asked := time.Now()
	answer, err := m.judge.Authenticate(ctx, r)
	// The time runs from the question: the answer may have been on its way for long.
	if left := serving.HeadTokenMemory - time.Since(asked); err == nil && answer.GetAuthenticated() && left > 0 && m.life() == life {
		m.kept.Add(key, remembered{answer, life}, left)
	}
	return answer, err
}

// hash keeps the tokens themselves out of memory, and who sees hashes from trying tokens
// out.
func (m *Memory) hash(token string) [sha256.Size]byte {
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(token))
	return [sha256.Size]byte(h.Sum(nil))
}
