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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

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

// round asks each server once. One that answers is enough: the tiers' clients
// find it, too.
func (r Remote) round(ctx context.Context) error {
	var errs []error
	mistakes := 0
	for _, server := range r.Servers {
		err := r.ask(ctx, server)
		if err == nil {
			return nil
		}
		if unfit(err) {
			mistakes++
			err = fmt.Errorf("%w: give an --etcd-cafile that signed its certificate, an --etcd-certfile that it accepts, "+
				"and https:// for a server with TLS", err)
		} else {
			err = fmt.Errorf("%w: start it, or give other --etcd-servers", err)
		}
		errs = append(errs, fmt.Errorf("cannot reach etcd at %s: %w", server, err))
	}
	err := errors.Join(errs...)
	if mistakes == len(r.Servers) {
		return process.ConfigurationError{Err: err}
	}
	return err
}

// unfit tells a mistake in certificates from a server that is away. gRPC
// passes on the text alone.
func unfit(err error) bool {
	return strings.Contains(err.Error(), "x509:") || strings.Contains(err.Error(), "tls:")
}

// ask calls what needs no permission. An answer that refuses is an answer.
func (r Remote) ask(ctx context.Context, server string) error {
	u, err := url.Parse(server)
	if err != nil {
		return err
	}
	transport, err := r.transport(u)
	if err != nil {
		return process.ConfigurationError{Err: err}
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

func (r Remote) transport(u *url.URL) (credentials.TransportCredentials, error) {
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
		cert, err := tls.LoadX509KeyPair(r.CertFile, r.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return credentials.NewTLS(cfg), nil
}
