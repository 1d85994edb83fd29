package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/process"
)

// reachTimeout is how long Reach tries. It is for an etcd that is being started
// beside us, not for one that is down: the service manager starts us again.
var reachTimeout = 10 * time.Second

// reachPause is the time between two rounds.
const reachPause = 200 * time.Millisecond

// Remote is an etcd of the user's own.
type Remote struct {
	// Servers are URLs, http or https.
	Servers []string
	// CAFile is the CA of the servers; empty means those of the system.
	// CertFile and KeyFile are shown to them; empty is none.
	CAFile, CertFile, KeyFile string
	// FlagPrefix is what the flags begin with that say all this: "etcd" of
	// --etcd-servers.
	FlagPrefix string
}

// Reach returns nil once one of the servers answers. What waiting cannot mend,
// such as certificates that do not fit, is a process.ConfigurationError.
func (r Remote) Reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	tick := time.NewTicker(reachPause)
	defer tick.Stop()
	var last error
	for {
		err := r.round(ctx)
		if err == nil || errors.As(err, &process.ConfigurationError{}) {
			return err
		}
		// A round that was cut short takes a server that refuses for a silent one.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// round asks all servers at once: two that are switched off must not use up the
// time of the others. One that answers is enough: the tiers' clients find it, too.
func (r Remote) round(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(r.Servers))
	for _, server := range r.Servers {
		go func() { answers <- r.reach(ctx, server) }()
	}
	var errs []error
	mistakes := 0
	for range r.Servers {
		a := <-answers
		if a.err == nil {
			return nil
		}
		if a.mistake {
			mistakes++
		}
		errs = append(errs, a.err)
	}
	err := errors.Join(errs...)
	if mistakes == len(r.Servers) {
		return process.ConfigurationError{Err: err}
	}
	return err
}

// answer is what became of asking one server; a mistake is not mended by waiting.
type answer struct {
	err     error
	mistake bool
}

// reach asks one server, and says what to do if it does not answer.
func (r Remote) reach(ctx context.Context, server string) answer {
	err := r.ask(ctx, server)
	if err == nil {
		return answer{}
	}
	hint, mistake := advice(err, server, r.FlagPrefix)
	return answer{fmt.Errorf("cannot reach etcd at %s: %w: %s", server, err, hint), mistake}
}

// advice says what to do, and whether waiting cannot help. gRPC passes on the text
// of errors alone. A clock may be set while we wait, so dates are no mistake.
func advice(err error, server, flags string) (hint string, mistake bool) {
	text := err.Error()
	switch plain := strings.HasPrefix(server, "http:"); {
	case strings.Contains(text, "does not look like a TLS handshake"):
		return "give it as http://, it speaks no TLS", true
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		dates := strings.Contains(text, "expired or is not yet valid")
		return fmt.Sprintf("give an --%[1]s-cafile that signed its certificate and an --%[1]s-certfile that it accepts, and see that the clock is right", flags), !dates
	case plain && (strings.Contains(text, "EOF") || strings.Contains(text, "reset") || strings.Contains(text, "preface")):
		return fmt.Sprintf("give it as https:// if it speaks TLS, or start it, or give other --%s-servers", flags), false
	}
	return fmt.Sprintf("start it, or give other --%s-servers", flags), false
}

// ask calls what needs no permission. An answer that refuses is an answer.
func (r Remote) ask(ctx context.Context, server string) error {
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	transport, err := r.transport(u)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(transport), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	switch s := status.Convert(err); s.Code() {
	case codes.Unavailable:
		return errors.New(s.Message())
	case codes.DeadlineExceeded:
		return errors.New("it does not answer")
	}
	return nil
}

func (r Remote) transport(u *url.URL) (grpccredentials.TransportCredentials, error) {
	if u.Scheme != "https" {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	if r.CAFile != "" {
		data, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		cfg.RootCAs.AppendCertsFromPEM(data)
	}
	if r.CertFile != "" {
		cert, err := credentials.KeyPair(r.CertFile, r.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return grpccredentials.NewTLS(cfg), nil
}
