package observe

import (
	"context"
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// Tests shorten these.
var (
	// checkTimeout is how long one health check may take. A few of them fit
	// into the silence after which a process is taken for dead.
	checkTimeout = 4 * time.Second
	// checkPause is the time between two checks.
	checkPause = 2 * time.Second
)

// pulse checks the health of whoever listens at address until ctx ends. Any
// answer is a sign of life, whatever it says. It has a connection of its own:
// that one stalls must not look like the death of the process.
func pulse(ctx context.Context, address string, cfg *tls.Config, sink Sink) {
	conn, err := dial(address, cfg)
	if err != nil {
		sink.Rejected(err.Error())
		return
	}
	defer conn.Close()
	health := healthv1.NewHealthClient(conn)
	for ctx.Err() == nil {
		if err := check(ctx, health); err == nil {
			sink.Alive()
		} else if ctx.Err() == nil {
			sink.Silent()
		}
		select {
		case <-time.After(checkPause):
		case <-ctx.Done():
		}
	}
}

func check(ctx context.Context, health healthv1.HealthClient) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	_, err := health.Check(ctx, &healthv1.HealthCheckRequest{}, grpc.WaitForReady(true))
	return err
}

func dial(address string, cfg *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: checkTimeout,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
	)
}
