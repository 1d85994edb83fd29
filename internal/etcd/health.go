package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// probeInterval is how often WaitHealthy asks while etcd is starting.
var probeInterval = 20 * time.Millisecond

// probeTimeout bounds one probe, so that a member that takes connections and
// answers nothing is found out. It is far above a slow disk's fsync.
var probeTimeout = 5 * time.Second

// AlarmError tells that etcd itself says that something is wrong. Waiting does
// not help: etcd never takes an alarm back by itself.
type AlarmError struct {
	// NoSpace: the quota is reached. Reads and deletes work, other writes are
	// refused, so the API server may and should run: it is how one frees space.
	NoSpace bool
	// Corrupt: the data does not agree with itself. Nothing should use it.
	Corrupt bool
}

func (e *AlarmError) Error() string {
	if e.Corrupt {
		return "etcd raised the alarm CORRUPT: restore its data from a backup"
	}
	return "etcd raised the alarm NOSPACE and refuses writes"
}

// Client asks one etcd for its health. It reconnects by itself.
type Client struct {
	conn    *grpc.ClientConn
	address string
}

// Dial returns a client of the etcd at address, a host:port. tls holds a
// client certificate, as from pki.ClientTLS. Nothing is sent yet.
func Dial(address string, tls *tls.Config) (*Client, error) {
	retry := backoff.Config{BaseDelay: probeInterval, Multiplier: 1.6, MaxDelay: time.Second}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(tls)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: probeTimeout}))
	if err != nil {
		return nil, fmt.Errorf("cannot dial etcd at %s: %w", address, err)
	}
	return &Client{conn: conn, address: address}, nil
}

// Address is the host:port that was dialed.
func (c *Client) Address() string { return c.address }

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Probe returns nil if etcd is healthy: its gRPC health says so, a linearizable
// read, which needs a leader and a working raft log, is answered, and no alarm
// is raised. An alarm is an *AlarmError. Health alone would not do: etcd says
// SERVING from its start on, whatever happens to its disk.
func (c *Client) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := c.checkServing(ctx); err != nil {
		return err
	}
	if err := c.checkRead(ctx); err != nil {
		return err
	}
	return c.checkAlarms(ctx)
}

func (c *Client) checkServing(ctx context.Context) error {
	r, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("etcd does not answer: %w", err)
	}
	if s := r.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("etcd says it is %s", s)
	}
	return nil
}

// checkRead reads a key that need not exist, as etcdctl does. Being refused by
// etcd's access control takes the same way through raft and is as good.
func (c *Client) checkRead(ctx context.Context) error {
	_, err := pb.NewKVClient(c.conn).Range(ctx, &pb.RangeRequest{Key: []byte("health"), KeysOnly: true})
	if err != nil && status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("etcd cannot be read: %w", err)
	}
	return nil
}

func (c *Client) checkAlarms(ctx context.Context) error {
	r, err := pb.NewMaintenanceClient(c.conn).Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
	if err != nil {
		return fmt.Errorf("etcd does not tell its alarms: %w", err)
	}
	if len(r.GetAlarms()) == 0 {
		return nil
	}
	alarm := &AlarmError{}
	for _, a := range r.GetAlarms() {
		alarm.NoSpace = alarm.NoSpace || a.GetAlarm() == pb.AlarmType_NOSPACE
		alarm.Corrupt = alarm.Corrupt || a.GetAlarm() == pb.AlarmType_CORRUPT
	}
	return alarm
}

// WaitHealthy waits until the etcd at address is healthy, an alarm makes
// waiting pointless (*AlarmError), or ctx ends; then the error says what was
// wrong last.
func WaitHealthy(ctx context.Context, address string, tls *tls.Config) error {
	c, err := Dial(address, tls)
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	var last error
	for {
		err := c.Probe(ctx)
		if err == nil || errors.As(err, new(*AlarmError)) {
			return err
		}
		if last == nil || ctx.Err() == nil { // one that ctx cut short says nothing
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd did not become healthy: %w", last)
		case <-tick.C:
		}
	}
}
