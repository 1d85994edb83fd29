package harness

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
	"k8s.io/kms/pkg/service"
)

// KMS is a key management plugin on a Unix socket, as an encryption
// configuration names one. Its key is made of the key's name, so that any plugin
// decrypts what another one encrypted.
type KMS struct {
	Socket string

	mu     sync.Mutex
	server *grpc.Server
	asked  int
	held   chan struct{} // closed unless Status is to wait
}

const kmsKey = "test-key-1"

// StartKMS starts a plugin for the test.
func StartKMS(t testing.TB) *KMS {
	t.Helper()
	k := &KMS{Socket: TempDir(t) + "/kms.sock", held: make(chan struct{})}
	close(k.held)
	k.Start(t)
	t.Cleanup(k.Stop)
	return k
}

// Start has the plugin answer.
func (k *KMS) Start(t testing.TB) {
	t.Helper()
	if err := os.Remove(k.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	l := Must(net.Listen("unix", k.Socket))(t)
	server := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(server, service.NewGRPCService("", 0, k))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.server = server
	go server.Serve(l)
}

// Stop has the plugin go away in the midst of everything.
func (k *KMS) Stop() {
	k.mu.Lock()
	server := k.server
	k.mu.Unlock()
	server.Stop()
}

// Hold has Status, the first thing that is asked of a plugin, wait for release.
func (k *KMS) Hold() (release func()) {
	held := make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = held
	return sync.OnceFunc(func() { close(held) })
}

// Asked returns an error until Status was asked for times times.
func (k *KMS) Asked(times int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked < times {
		return fmt.Errorf("asked %d times", k.asked)
	}
	return nil
}

// Status implements service.Service.
func (k *KMS) Status(ctx context.Context) (*service.StatusResponse, error) {
	k.mu.Lock()
	k.asked++
	held := k.held
	k.mu.Unlock()
	select {
	case <-held:
		return &service.StatusResponse{Version: "v2", Healthz: "ok", KeyID: kmsKey}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Encrypt implements service.Service. What is encrypted is random, so that it
// needs no nonce of its own.
func (k *KMS) Encrypt(_ context.Context, _ string, data []byte) (*service.EncryptResponse, error) {
	sealed := kmsCipher(kmsKey).Seal(nil, make([]byte, 12), data, nil)
	return &service.EncryptResponse{Ciphertext: sealed, KeyID: kmsKey}, nil
}

// Decrypt implements service.Service.
func (k *KMS) Decrypt(_ context.Context, _ string, req *service.DecryptRequest) ([]byte, error) {
	return kmsCipher(req.KeyID).Open(nil, make([]byte, 12), req.Ciphertext, nil)
}

func kmsCipher(key string) cipher.AEAD {
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		panic(err) // the key has the right size
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // as does the block
	}
	return aead
}
