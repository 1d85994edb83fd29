package credentials

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// soughtEnv holds, inverted so that it is not found itself, the text that a process looks for in its own memory.
const soughtEnv = "TRIPTYCH_TEST_SOUGHT"

var kept []byte

// The text of a key is not in the memory of a process that has loaded it. A process of its own loads it: the one that
// wrote the file has it from that.
func TestNoTextOfAKeyStaysInMemory(t *testing.T) {
	load := map[string]func(cert, key string) (tls.Certificate, error){"KeyPair": KeyPair, "keeping": func(cert, key string) (tls.Certificate, error) {
		kept, _ = os.ReadFile(key)
		return KeyPair(cert, key)
	}}
	if sought := os.Getenv(soughtEnv); sought != "" {
		pair, err := load[os.Getenv("LOAD")]("cert.pem", "key.pem")
		if err != nil {
			t.Fatal(err)
		}
		needle, err := hex.DecodeString(sought)
		if err != nil {
			t.Fatal(err)
		}
		found, err := inOwnMemory(needle)
		fmt.Printf("found=%t err=%v certificates=%d\n", found, err, len(pair.Certificate))
		return
	}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: "test"}, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cert.pem": certPEM(cert), "key.pem": text} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	needle := []byte(strings.Split(string(text), "\n")[1][:40])
	for i := range needle {
		needle[i] ^= 0xff
	}
	// Who keeps it shows that it is found.
	for name, want := range map[string]string{"KeyPair": "found=false err=<nil> certificates=1", "keeping": "found=true err=<nil> certificates=1"} {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Dir = dir
		child.Env = append(os.Environ(), soughtEnv+"="+hex.EncodeToString(needle), "LOAD="+name)
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, want %s: %s", name, err, want, out)
		}
	}
}

func certPEM(c *x509.Certificate) []byte {
	out, _ := certutil.EncodeCertificates(c)
	return out
}

// inOwnMemory looks in the writable memory of this process for what needle is the inverse of.
func inOwnMemory(needle []byte) (bool, error) {
	buffer := make([]byte, 1<<20)
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return false, err
	}
	defer maps.Close()
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		return false, err
	}
	defer memory.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var start, end uint64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &start, &end, &mode); err != nil {
			return false, err
		}
		if !strings.HasPrefix(mode, "rw") {
			continue
		}
		from, to := int64(start), int64(end)
		for at := from; at < to; at += int64(len(buffer) - len(needle)) {
			n, err := memory.ReadAt(buffer[:min(int64(len(buffer)), to-at)], at)
			if err != nil {
				break // a part that cannot be read, such as that of the kernel
			}
			if holdsInverse(buffer[:n], needle) {
				return true, nil
			}
		}
	}
	return false, nil
}

func holdsInverse(b, needle []byte) bool {
next:
	for i := range len(b) - len(needle) + 1 {
		for j, want := range needle {
			if b[i+j] != want^0xff {
				continue next
			}
		}
		return true
	}
	return false
}
