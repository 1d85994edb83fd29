package process

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// orphanVariable makes this binary a process that hangs on a lifeline.
const orphanVariable = "TRIPTYCH_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphanVariable) != "" {
		HoldLifeline(3)
		os.Stdout.WriteString("alive\n")
		select {}
	}
	goleak.VerifyTestMain(m)
}

// newWiring returns a complete wiring of a tier whose handshake listens at the
// returned address.
func newWiring(t *testing.T, name tier.Name) (w wiring.Wiring, handshake string) {
	t.Helper()
	dir, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: dir.Dir}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handshake = l.Addr().String()
	l.Close()
	w = wiring.Wiring{
		Head: tier.Aggregator,
		Tier: name, Replica: string(name) + "-0", PublicAddress: "127.0.0.1:6443",
		Listen: wiring.Listen{Hop: "127.0.0.1:0", Handshake: wiring.Socket(handshake), Public: "127.0.0.1:0"},
		PKI:    pki.Paths{Dir: dir.Dir}.Internal(name),
		Tiers:  map[tier.Name][]wiring.Endpoint{},
	}
	for _, other := range tier.Order {
		w.Tiers[other] = []wiring.Endpoint{{Replica: string(other) + "-0", Hop: "127.0.0.1:1", Handshake: handshake}}
	}
	return w, handshake
}

func write(t *testing.T, w wiring.Wiring) string {
	t.Helper()
	content, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wiring.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
