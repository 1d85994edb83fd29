package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/hop"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// behavior is what a fake tier is to do. It is read at its start from a file
// beside its program, so a test can change it between two lives.
type behavior struct {
	// Error is a configuration error to end with at once.
	Error string
	// CrashAt ends the process with code 3 when it reaches the stage.
	CrashAt tier.Stage
	// NeverReady holds the process at prepared.
	NeverReady bool
	// IgnoreStop has the process ignore SIGTERM.
	IgnoreStop bool
	// DieAfter ends the process with code 3 so long after it was ready.
	DieAfter time.Duration
	// Versions are what the program says, where they are not what this one is.
	Versions *process.Versions
	// StopTakes is how long a graceful stop lasts.
	StopTakes time.Duration
	// Tunnels is how many are up, 0 for a process that does not know of tunnels; a
	// negative number is one that never says.
	Tunnels int64
}

func behaviorFile(binDir string, name tier.Name) string {
	return filepath.Join(binDir, string(name)+".behavior")
}

// fakeTier is a tier without an API: it speaks the handshake as a real one does
// and accepts connections on its hop listener.
func fakeTier(name tier.Name) int {
	b := behavior{}
	if data, err := os.ReadFile(behaviorFile(filepath.Dir(os.Args[0]), name)); err == nil {
		if err := json.Unmarshal(data, &b); err != nil {
			panic(err)
		}
	}
	if len(os.Args) > 1 && os.Args[1] == process.VersionCommand {
		said := process.VersionsOf(name)
		if b.Versions != nil {
			said = *b.Versions
		}
		if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
			panic(err)
		}
		return 0
	}
	var wiringFile string
	cmd := &cobra.Command{Use: string(name), FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true}}
	cmd.Flags().StringVar(&wiringFile, "wiring", "", "")
	cmd.Flags().String("feature-gates", "", "")
	cmd.RunE = func(*cobra.Command, []string) error {
		fmt.Fprintln(os.Stderr, "fake", name, os.Args[1:])
		if b.Error != "" {
			return process.ConfigurationError{Err: fmt.Errorf("%s", b.Error)}
		}
		ctx, p, err := process.Start(name, wiringFile, cmd.Flags(), "")
		if err != nil {
			return err
		}
		if b.Tunnels != 0 {
			p.Handshake.RegisterTunnels(b.count)
		}
		p.Listen()
		return b.live(ctx, p)
	}
	return process.Main(cmd, os.Args[1:], os.Stderr)
}

func (b behavior) count() *handshakev1.CountResponse {
	if b.Tunnels < 0 {
		select {}
	}
	return &handshakev1.CountResponse{Up: b.Tunnels, Down: 1, SyncAgeSeconds: 12.3}
}

func (b behavior) live(ctx context.Context, p *process.Process) error {
	inner, err := p.Wiring.Listen.Hop.Open()
	if err != nil {
		return err
	}
	if p.Wiring.Tier == tier.Aggregator {
		if err := serve(p, inner); err != nil {
			return err
		}
	} else {
		go accept(inner)
	}
	if p.Wiring.Listen.Public != "" {
		public, err := p.Wiring.Listen.Public.Open()
		if err != nil {
			return err
		}
		go accept(public)
	}
	for _, stage := range []tier.Stage{tier.Configured, tier.Constructed, tier.Prepared, tier.Ready} {
		if b.CrashAt == stage {
			os.Exit(3)
		}
		if stage == tier.Ready && b.NeverReady {
			break
		}
		p.Reach(stage)
	}
	if b.DieAfter > 0 {
		time.AfterFunc(b.DieAfter, func() { os.Exit(3) })
	}
	<-ctx.Done()
	if b.IgnoreStop {
		select {}
	}
	time.Sleep(b.StopTakes)
	return nil
}

// serve answers requests on the head's private listener with who sends them, and
// watches with one line and no end.
func serve(p *process.Process, l net.Listener) error {
	mine := p.Wiring.PKI
	s, err := hop.NewServer(hop.ServerConfig{
		Listener: l, CAFile: mine.CA, CertFile: mine.Serving.Cert, KeyFile: mine.Serving.Key,
		Admit: func(p identity.Peer) bool {
			return p == identity.Peer{Name: identity.Supervisor, Role: identity.Delegation}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, err := identity.Parse(r.Header)
			if err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
				return
			}
			fmt.Fprintln(w, id.User.GetName(), id.User.GetGroups(), os.Getpid())
			if r.URL.Query().Has("watch") {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
		}),
	})
	if err != nil {
		return err
	}
	go func() { _ = s.Serve() }()
	return nil
}

// accept answers every connection with the number of this process.
func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, os.Getpid())
		c.Close()
	}
}
