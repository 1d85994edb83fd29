package invitation

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// invite serves an invitation and returns its token and how it ended.
func invite(t *testing.T, ttl time.Duration, bundle func() (*Bundle, error)) (Token, <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewHost(l, ttl, bundle)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan string, 1)
	go func() { ended <- h.Serve(ctx); close(ended) }()
	t.Cleanup(func() {
		cancel()
		for range ended {
		}
	})
	return h.Token, ended
}

func secret() (*Bundle, error) {
	return &Bundle{Files: []File{{Path: "pki/ca.key", Data: []byte("key")}, {Path: "joined/supervisor.yaml", Data: []byte("dir: $DATA_DIR/x\n")}}}, nil
}

func TestATokenIsWorthOneBundle(t *testing.T) {
	made, ended := invite(t, time.Minute, secret)
	token, err := ParseToken(" " + made.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	b, err := Accept(t.Context(), token)
	if err != nil || len(b.Files) != 2 || string(b.Files[0].Data) != "key" {
		t.Fatalf("%v %v", b, err)
	}
	if why := <-ended; !strings.HasPrefix(why, "it was used from 127.0.0.1:") {
		t.Error(why)
	}
	if _, err := Accept(t.Context(), token); err == nil {
		t.Error("it was worth another one")
	}
}

func TestATokenIsSpentWhileItsBundleIsMade(t *testing.T) {
	making, proceed := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	token, _ := invite(t, time.Minute, func() (*Bundle, error) {
		if asked.Add(1) == 1 {
			close(making)
			<-proceed
		}
		return secret()
	})
	first := make(chan error)
	go func() { _, err := Accept(t.Context(), token); first <- err }()
	<-making
	if _, err := Accept(t.Context(), token); err == nil {
		t.Error("it was worth another one")
	}
	close(proceed)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestOnlyTheSecretIsLetIn(t *testing.T) {
	asked := false
	token, ended := invite(t, time.Minute, func() (*Bundle, error) { asked = true; return secret() })
	guess := token
	guess.Secret = make([]byte, 32)
	for range maxWrong {
		if _, err := Accept(t.Context(), guess); err == nil || !strings.Contains(err.Error(), "secret") {
			t.Error(err)
		}
	}
	if why := <-ended; !strings.Contains(why, "wrong secrets") {
		t.Error(why)
	}
	if _, err := Accept(t.Context(), token); err == nil || asked {
		t.Errorf("guessing does not end it: %v", err)
	}
}

func TestWhoeverAnswersInItsPlaceIsNotToldTheSecret(t *testing.T) {
	right, _ := invite(t, time.Minute, secret)
	impostor, ended := invite(t, time.Minute, secret)
	right.Address = impostor.Address
	if _, err := Accept(t.Context(), right); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Error(err)
	}
	select {
	case why := <-ended:
		t.Error(why)
	default:
	}
}

func TestATokenExpires(t *testing.T) {
	token, ended := invite(t, time.Second, secret)
	if why := <-ended; why != "it expired unused" {
		t.Error(why)
	}
	for _, left := range []time.Duration{0, time.Hour} {
		token.Expires = token.Expires.Add(left) // whatever the guest's clock says
		if _, err := Accept(t.Context(), token); err == nil {
			t.Error("it was worth something after its time")
		}
	}
}

func TestAHostThatCannotMakeTheBundleSaysWhy(t *testing.T) {
	token, ended := invite(t, time.Minute, func() (*Bundle, error) { return nil, errors.New("the key is gone") })
	if _, err := Accept(t.Context(), token); err == nil || !strings.Contains(err.Error(), "the key is gone") {
		t.Error(err)
	}
	if why := <-ended; !strings.Contains(why, "the key is gone") {
		t.Error(why)
	}
}

func TestNoTokens(t *testing.T) {
	made, _ := invite(t, time.Minute, secret)
	whole := made.String()
	for _, wrong := range []string{"", prefix, whole[:len(whole)-9], strings.TrimPrefix(whole, prefix), "abcdef.0123456789abcdef"} {
		if _, err := ParseToken(wrong); err == nil {
			t.Errorf("%q was taken for a token", wrong)
		}
	}
}

func TestWhatIsHandedOverIsWrittenWhereItBelongsAndNothingIsReplaced(t *testing.T) {
	h, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b, _ := secret()
	b.Files = append(b.Files, File{Path: "pki/ca.crt", Data: []byte("certificate"), Public: true})
	if err := b.Unpack(h.Dir); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"pki/ca.key": 0o600, "pki/ca.crt": 0o644, "joined/supervisor.yaml": 0o600, "joined": 0o700 | os.ModeDir} {
		if info, err := os.Stat(filepath.Join(h.Root, path)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(h.Root, "joined/supervisor.yaml")); string(data) != "dir: "+h.Root+"/x\n" {
		t.Errorf("%s", data)
	}
	if err := b.Unpack(h.Dir); err == nil || !strings.Contains(err.Error(), "ca.key is there already") {
		t.Error(err)
	}
	for _, outside := range []string{"../x", "/etc/x", "pki/../../x"} {
		if err := (&Bundle{Files: []File{{Path: outside}}}).Unpack(h.Dir); err == nil || !strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: %v", outside, err)
		}
	}
}
