package observe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
)

func TestMain(m *testing.M) {
	checkTimeout, checkPause = 300*time.Millisecond, 20*time.Millisecond
	goleak.VerifyTestMain(m)
}

// record is a sink that remembers.
type record struct {
	mu   sync.Mutex
	seen []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf(format, args...))
}

func (r *record) Reached(stage tier.Stage)                  { r.add("reached %s", stage) }
func (r *record) ReadinessLost()                            { r.add("lost") }
func (r *record) Described(d *handshakev1.DescribeResponse) { r.add("described %s", d.GetReplica()) }
func (r *record) Rejected(reason string)                    { r.add("rejected: %s", reason) }
func (r *record) Full(size string)                          { r.add("full: %s", size) }
func (r *record) Alive()                                    { r.add("alive") }
func (r *record) Silent()                                   { r.add("silent") }
func (r *record) Burst(on bool)                             { r.add("burst %v", on) }

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// count returns how often something that begins with prefix was seen.
func (r *record) count(prefix string) (n int) {
	for _, s := range r.all() {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func (r *record) await(t *testing.T, prefix string, times int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for r.count(prefix) < times {
		if time.Now().After(deadline) {
			t.Fatalf("%q was not seen %d times: %q", prefix, times, r.all())
		}
		time.Sleep(time.Millisecond)
	}
}

// scene is a core of the test's, and the supervisor that watches it.
type scene struct {
	t        *testing.T
	listener net.Listener
	server   *tls.Config
	client   *tls.Config
}

func newScene(t *testing.T) *scene {
	t.Helper()
	h, err := datadir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if _, err := pki.Ensure(pki.Options{Dir: h.Dir}); err != nil {
		t.Fatal(err)
	}
	core, mine := pki.Paths{Dir: h.Dir}.Internal(tier.Core), pki.Paths{Dir: h.Dir}.Internal(identity.Supervisor)
	client, err := pki.ClientTLS(mine.CA, mine.Self.Cert, mine.Self.Key, identity.ServerName(tier.Core))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &scene{t: t, listener: l, server: serverTLS(t, core.CA, core.Serving.Cert, core.Serving.Key), client: client}
}

func serverTLS(t *testing.T, ca, cert, key string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
}

// serve has a process answer as d.
func (s *scene) serve(d *handshakev1.DescribeResponse) *handshake.Server {
	server := handshake.NewServer(s.server, d)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(s.listener)
	}()
	s.t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return server
}

// watch observes as the supervisor does, to the end of the test.
func (s *scene) watch(observe func(context.Context, Sink)) *record {
	r := &record{}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { observe(ctx, r) })
	s.t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	return r
}

func (s *scene) watchCore() *record {
	return s.watch(Tier(tier.Core, s.listener.Addr().String(), s.client))
}

func core() *handshakev1.DescribeResponse {
	return &handshakev1.DescribeResponse{Protocol: handshake.Protocol, OldestProtocol: handshake.OldestProtocol, Tier: "core", Replica: "core-0", Incarnation: "1"}
}

func TestStagesAndReadinessAreReported(t *testing.T) {
	s := newScene(t)
	r := s.watchCore() // before anybody accepts
	server := s.serve(core())
	r.await(t, "described core-0", 1)
	r.await(t, "alive", 1)
	for _, stage := range []tier.Stage{tier.Configured, tier.Constructed, tier.Prepared, tier.Ready} {
		server.Reach(stage)
		r.await(t, "reached "+string(stage), 1)
	}
	server.Leave(tier.Ready)
	server.Burst(true)
	r.await(t, "burst true", 1)
	server.Burst(false)
	r.await(t, "burst false", 1)
	r.await(t, "lost", 1)
	server.Reach(tier.Ready)
	r.await(t, "reached ready", 2)
	if r.count("described") != 1 || r.count("lost") != 1 {
		t.Errorf("%q", r.all())
	}
}

func TestTheWrongProcessIsRejected(t *testing.T) {
	for says, change := range map[string]func(*handshakev1.DescribeResponse){
		`rejected: the process answers as tier "extensions"`: func(d *handshakev1.DescribeResponse) { d.Tier = "extensions" },
		"rejected: core speaks protocols":                    func(d *handshakev1.DescribeResponse) { d.Protocol = 0 },
	} {
		s := newScene(t)
		d := core()
		change(d)
		s.serve(d)
		s.watchCore().await(t, says, 1)
	}
}

func TestAProcessThatDoesNotAnswerIsSilent(t *testing.T) {
	s := newScene(t) // its listener is open, and nobody accepts
	r := s.watchCore()
	r.await(t, "silent", 3)
	if r.count("alive") != 0 {
		t.Errorf("%q", r.all())
	}
}

func TestAnImpostorIsNoSignOfLife(t *testing.T) {
	s, other := newScene(t), newScene(t)
	s.server = other.server // of another internal CA
	s.serve(core())
	r := s.watchCore()
	r.await(t, "silent", 2)
	if r.count("alive")+r.count("described") != 0 {
		t.Errorf("%q", r.all())
	}
}
