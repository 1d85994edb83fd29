package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/internal/tier"
)

func (r *rig) probe(t *testing.T, c *tls.Config) error {
	t.Helper()
	client, err := Dial(r.options.ClientAddress, c)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.Probe(t.Context())
}

func TestStrangersAreRefused(t *testing.T) {
	r, stranger := newRig(t), newRig(t)
	r.start(t, "plain")

	without := r.tls(t)
	without.Certificates = nil
	wrongCA := r.tls(t)
	wrongCA.Certificates = stranger.tls(t).Certificates
	distrustful := r.tls(t)
	distrustful.RootCAs = stranger.tls(t).RootCAs
	internal := r.tls(t)
	pair, err := tls.LoadX509KeyPair(r.paths.Internal(tier.Core).Self.Cert, r.paths.Internal(tier.Core).Self.Key)
	if err != nil {
		t.Fatal(err)
	}
	internal.Certificates = []tls.Certificate{pair}
	old := r.tls(t)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12

	for name, c := range map[string]*tls.Config{
		"no certificate": without, "certificate of another CA": wrongCA,
		"certificate of the internal CA": internal, "server of another CA": distrustful, "TLS 1.2": old,
	} {
		if err := r.probe(t, c); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	if err := r.probe(t, r.tls(t)); err != nil {
		t.Errorf("the supervisor is refused: %v", err)
	}
}

func TestHTTPSocketAsksForACertificateToo(t *testing.T) {
	r := newRig(t)
	r.start(t, "plain")
	status := func(c *tls.Config) (int, error) {
		transport := &http.Transport{TLSClientConfig: c, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.options.HTTPSocket())
		}}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get("https://localhost/health")
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	if code, err := status(r.tls(t)); code != http.StatusOK {
		t.Errorf("with a certificate: %d %v", code, err)
	}
	anonymous := r.tls(t)
	anonymous.Certificates = nil
	if code, err := status(anonymous); err == nil {
		t.Errorf("without a certificate: %d", code)
	}
}

// etcd's gRPC health says SERVING even so.
func TestAlarmsAreNotHealthy(t *testing.T) {
	r := newRig(t)
	r.options.QuotaBytes = 1 << 20
	r.start(t, "plain")
	client := r.client(t)
	for {
		if _, err := client.Put(t.Context(), "k", strings.Repeat("v", 1<<18)); err != nil {
			break
		}
	}
	var alarm *AlarmError
	if err := WaitHealthy(t.Context(), r.options.ClientAddress, r.tls(t)); !errors.As(err, &alarm) || !alarm.NoSpace || alarm.Corrupt {
		t.Errorf("with NOSPACE: %v", err)
	}
	if _, err := client.Delete(t.Context(), "k"); err != nil {
		t.Errorf("space cannot be freed: %v", err)
	}
	members, err := client.MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewMaintenanceClient(client.ActiveConnection()).Alarm(t.Context(), &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: members.Members[0].ID, Alarm: pb.AlarmType_CORRUPT,
	}); err != nil {
		t.Fatal(err)
	}
	if err := WaitHealthy(t.Context(), r.options.ClientAddress, r.tls(t)); !errors.As(err, &alarm) || !alarm.Corrupt {
		t.Errorf("with CORRUPT: %v", err)
	}
}

func TestAFrozenMemberIsNotHealthy(t *testing.T) {
	shrink(t, &probeTimeout, 300*time.Millisecond)
	r := newRig(t)
	c := r.start(t, "plain")
	_ = c.cmd.Process.Signal(syscall.SIGSTOP)
	if err := r.probe(t, r.tls(t)); err == nil {
		t.Error("a stopped process was called healthy")
	}
	_ = c.cmd.Process.Signal(syscall.SIGCONT)
	c.waitHealthy(r)
}

func TestWaitHealthySaysWhatWasWrong(t *testing.T) {
	r := newRig(t) // and nothing started
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := WaitHealthy(ctx, r.options.ClientAddress, r.tls(t))
	if err == nil || !strings.Contains(err.Error(), "etcd did not become healthy") {
		t.Errorf("error %v", err)
	}
	wrong := r.tls(t)
	wrong.RootCAs = x509.NewCertPool()
	r.start(t, "plain")
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := WaitHealthy(ctx, r.options.ClientAddress, wrong); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("error %v", err)
	}
}

func shrink(t *testing.T, d *time.Duration, to time.Duration) {
	old := *d
	*d = to
	t.Cleanup(func() { *d = old })
}

// Streams that outlive the request, and TTLs, must not depend on the short
// election timeout.
func TestLeasesKeepTheTimeTheyAskFor(t *testing.T) {
	r := newRig(t)
	r.start(t, "plain")
	lease, err := clientv3.NewLease(r.client(t)).Grant(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if lease.TTL != 3 {
		t.Errorf("TTL is %d", lease.TTL)
	}
}
