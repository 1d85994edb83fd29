package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

func TestAProcessWhoseLifelineEndsIsGoneAtOnce(t *testing.T) {
	read, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), orphanVariable+"=1")
	child.ExtraFiles = []*os.File{read}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	read.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "alive\n" {
		t.Fatalf("said %q, %v", line, err)
	}
	// What is written is not the end: this is more than the pipe holds, so it
	// is written only if somebody goes on reading.
	if _, err := hold.Write(make([]byte, 1<<20)); err != nil {
		t.Fatalf("gone before its supervisor: %v", err)
	}
	hold.Close()
	exit := &exec.ExitError{}
	if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != ExitOrphaned {
		t.Errorf("ended with %v, want %d", err, ExitOrphaned)
	}
}

func TestWhatIsWrongAtTheStartIsAConfigurationErrorWithTheRemedy(t *testing.T) {
	good, _ := newWiring(t, tier.Core)
	changed := func(change func(*wiring.Wiring)) string {
		w := good
		change(&w)
		return write(t, w)
	}
	empty := t.TempDir() + "/empty.crt"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	auditing := pflag.NewFlagSet("tier", pflag.ContinueOnError)
	auditing.String("audit-policy-file", "/nowhere/policy.yaml", "")
	none := &pflag.FlagSet{}
	for name, c := range map[string]struct {
		path  string
		flags *pflag.FlagSet
		says  string
	}{
		"no wiring":               {"", none, "--wiring"},
		"no such wiring":          {"/nowhere/wiring.json", none, "/nowhere/wiring.json"},
		"another tier's wiring":   {changed(func(w *wiring.Wiring) { w.Tier = tier.Aggregator }), none, "aggregator"},
		"no such CA":              {changed(func(w *wiring.Wiring) { w.PKI.CA = "/nowhere/ca.crt" }), none, "/nowhere/ca.crt"},
		"an empty CA":             {changed(func(w *wiring.Wiring) { w.PKI.CA = empty }), none, "holds no certificate"},
		"certificate and key":     {changed(func(w *wiring.Wiring) { w.PKI.Serving.Key = w.PKI.Self.Key }), none, good.PKI.Serving.Cert},
		"a taken address":         {changed(func(w *wiring.Wiring) { w.Listen.Handshake = wiring.Socket(taken(t)) }), none, "cannot listen"},
		"a shared file's absence": {changed(func(*wiring.Wiring) {}), auditing, "--audit-policy-file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p, err := Start(tier.Core, c.path, c.flags, "")
			if p != nil || !errors.As(err, &ConfigurationError{}) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a configuration error with %q", err, c.says)
			}
		})
	}
}

func taken(t *testing.T) string {
	t.Helper()
	l, err := wiring.Socket("127.0.0.1:0").Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestAProcessTellsWhoItIsAndThatItDrainsWhenToldToStop(t *testing.T) {
	w, address := newWiring(t, tier.Core)
	fs := pflag.NewFlagSet("tier", pflag.ContinueOnError)
	fs.String("feature-gates", "A=true", "")
	ctx, p, err := Start(tier.Core, write(t, w), fs, "1.37")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Handshake.Stop)
	p.Handshake.Publish(&handshakev1.RoutesResponse{})
	p.Listen()
	p.Reach(tier.Prepared)

	client, stop := watch(t, p)
	defer stop()
	state, err := client.Wait(t.Context(), handshake.At(tier.Prepared))
	if err != nil {
		t.Fatal(err)
	}
	byFlag, all, _ := Settings(fs)
	d := state.Description
	if d.GetTier() != "core" || d.GetReplica() != "core-0" || d.GetPid() != int64(os.Getpid()) ||
		d.GetProtocol() != handshake.Protocol || d.GetIncarnation() == "" || d.GetVersion() == "" {
		t.Errorf("%s describes itself as %v", address, d)
	}
	if d.GetSettings()[handshake.Emulated] != "1.37" || d.GetSettingsHash() == all || d.GetSettings()["feature-gates"] != byFlag["feature-gates"] {
		t.Errorf("the settings are %v, %v", d.GetSettingsHash(), d.GetSettings())
	}
	if state.Reached[tier.Draining] || ctx.Err() != nil {
		t.Error("drains unasked")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if _, err := client.Wait(t.Context(), handshake.At(tier.Draining)); err != nil {
		t.Fatal(err)
	}
	if !mustState(client).Reached[tier.Prepared] {
		t.Error("a process that drains must stay prepared: what is in flight is still delegated to it")
	}
}

func mustState(c *handshake.Replicas) handshake.State {
	state, _ := c.State()
	return state
}

// watch has p watch itself.
func watch(t *testing.T, p *Process) (client *handshake.Replicas, stop func()) {
	t.Helper()
	client, err := p.Watch(p.Wiring.Tier)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		client.Run(ctx)
	}()
	return client, func() { cancel(); <-done }
}

func TestTwoLivesOfOneProcessAreToldApart(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		w, _ := newWiring(t, tier.Extensions)
		p := &Process{Wiring: &w}
		if err := p.newHandshake(""); err != nil {
			t.Fatal(err)
		}
		d, err := p.Handshake.Describe(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[d.GetIncarnation()] = true
		p.listener.Close()
		p.Handshake.Stop()
	}
	if len(seen) != 2 {
		t.Errorf("the incarnations are %v", seen)
	}
}

// The time runs from the start of the process, and once for all it waits for.
func TestPatienceRunsFromTheStartOfTheProcess(t *testing.T) {
	born := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if got, want := (&Process{born: born}).Patience(), born.Add(8*time.Second); !got.Equal(want) {
		t.Errorf("patience ends at %v, want %v", got, want)
	}
}

func TestCallsGoToTheRightTierWithTheRightCertificate(t *testing.T) {
	w, _ := newWiring(t, tier.Core)
	w.Tiers[tier.Aggregator] = []wiring.Endpoint{{Replica: "aggregator-0", Hop: "127.0.0.1:4711", Handshake: "127.0.0.1:4712"}}
	p := &Process{Wiring: &w}
	var err error
	if p.papers, err = loadPapers(w.PKI); err != nil {
		t.Fatal(err)
	}

	c, err := p.ClientConfig(tier.Aggregator)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := p.Watch(tier.Aggregator)
	over, end := context.WithCancel(t.Context())
	end()
	defer head.Run(over) // closes what the configuration is watched by
	if c.Host != "https://127.0.0.1:4711" || c.ServerName != identity.ServerName(tier.Aggregator) ||
		!bytes.Equal(c.CAData, p.papers.self.Now().Bundle) || c.QPS >= 0 {
		t.Errorf("the client is configured as %+v", c)
	}
	// What clients of webhooks add to the data must not hide our CA.
	if c.CAFile != "" {
		t.Errorf("the CA is the file %s", c.CAFile)
	}
	cfg, err := p.DelegationTLS(tier.Extensions)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := cfg.GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := identity.PeerOf(shown.Leaf)
	if err != nil || peer != (identity.Peer{Name: tier.Core, Role: identity.Delegation}) {
		t.Errorf("delegates as %v, %v", peer, err)
	}
	if cfg.ServerName != identity.ServerName(tier.Extensions) || cfg.VerifyConnection == nil {
		t.Errorf("takes %q for extensions", cfg.ServerName)
	}
}
