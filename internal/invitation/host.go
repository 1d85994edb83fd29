package invitation

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// path is the one thing that there is to ask for.
	path = "/v1/join"
	// maxWrong is how many wrong secrets end an invitation: nobody mistypes one, so
	// somebody is trying.
	maxWrong = 10
	// answerTimeout bounds a connection from its first byte to its last.
	answerTimeout = 30 * time.Second
)

// Host serves one invitation.
type Host struct {
	Token  Token
	bundle func() (*Bundle, error)
	http   *http.Server
	l      net.Listener

	mu    sync.Mutex
	used  bool
	wrong int
	why   string // it ended
	done  chan struct{}
}

// NewHost makes an invitation that is served on l, TCP, until it was used, but no longer
// than ttl. bundle makes what is handed over, when it is.
func NewHost(l net.Listener, ttl time.Duration, bundle func() (*Bundle, error)) (*Host, error) {
	certificate, err := ephemeral(ttl)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate for the invitation: %w", err)
	}
	fingerprint := sha256.Sum256(certificate.Certificate[0])
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	h := &Host{
		Token:  Token{Address: l.Addr().String(), Fingerprint: fingerprint[:], Secret: secret, Expires: time.Now().Add(ttl).UTC().Truncate(time.Second)},
		bundle: bundle, l: l, done: make(chan struct{}),
	}
	h.http = &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: answerTimeout, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	return h, nil
}

// Serve serves until the invitation is used or over, and says why it ended.
func (h *Host) Serve(ctx context.Context) string {
	ctx, cancel := context.WithDeadline(ctx, h.Token.Expires)
	defer cancel()
	go func() { _ = h.http.ServeTLS(h.l, "", "") }()
	select {
	case <-h.done:
		// The answer is under way.
		last, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		_ = h.http.Shutdown(last)
	case <-ctx.Done():
		h.end("it expired unused")
	}
	_ = h.http.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.why
}

func (h *Host) end(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.why == "" {
		h.why = why
		close(h.done)
	}
}

// ServeHTTP implements http.Handler.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != path {
		http.Error(w, "nothing is here", http.StatusNotFound)
		return
	}
	if !h.admit(r) {
		http.Error(w, "this is not the secret, or it was used", http.StatusForbidden)
		return
	}
	bundle, err := h.bundle()
	if err != nil {
		h.end("it could not be served: " + err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(bundle); err != nil {
		h.end("it was used from " + r.RemoteAddr + ", which did not get all")
		return
	}
	h.end("it was used from " + r.RemoteAddr)
}

// admit tells whether r shows the secret, the first time that somebody does.
func (h *Host) admit(r *http.Request) bool {
	shown, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	secret, err := base64.RawURLEncoding.DecodeString(shown)
	right := err == nil && subtle.ConstantTimeCompare(secret, h.Token.Secret) == 1
	h.mu.Lock()
	defer h.mu.Unlock()
	if right && !h.used && h.why == "" {
		h.used = true
		return true
	}
	if h.wrong++; h.wrong == maxWrong && h.why == "" {
		h.why = fmt.Sprintf("it was asked for with %d wrong secrets, the last time from %s", h.wrong, r.RemoteAddr)
		close(h.done)
	}
	return false
}

// Accept fetches what the token's host hands over. It can be had once.
func Accept(ctx context.Context, t Token) (*Bundle, error) {
	if time.Now().After(t.Expires) {
		return nil, fmt.Errorf("the token expired on %s: make another by supervisor join-token", t.Expires.Local().Format(time.DateTime))
	}
	client := &http.Client{Timeout: answerTimeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The one certificate that is right is known; no name and no CA says more.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			is := sha256.Sum256(s.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(is[:], t.Fingerprint) != 1 {
				return errors.New("somebody else answers there")
			}
			return nil
		},
	}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+t.Address+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+base64.RawURLEncoding.EncodeToString(t.Secret))
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("cannot reach who made the token, or it was used already: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
		return nil, fmt.Errorf("who made the token refuses: %s", strings.TrimSpace(string(said)))
	}
	b := &Bundle{}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<20)).Decode(b); err != nil {
		return nil, fmt.Errorf("what came is not whole, and the token is used up: %w: make another by supervisor join-token", err)
	}
	return b, nil
}

// ephemeral makes a certificate for one invitation; its key never leaves this process.
func ephemeral(ttl time.Duration) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(ttl + time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
}
