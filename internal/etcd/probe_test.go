package etcd

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// sick stands for an etcd with what a real one cannot be made to have at will.
type sick struct {
	pb.UnimplementedKVServer
	pb.UnimplementedMaintenanceServer
	read, alarm error
}

func (s *sick) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return &pb.RangeResponse{}, s.read
}

func (s *sick) Alarm(context.Context, *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	return &pb.AlarmResponse{}, s.alarm
}

func (s *sick) serve(t *testing.T, r *rig, serving healthpb.HealthCheckResponse_ServingStatus) {
	cert, err := tls.LoadX509KeyPair(r.options.CertFile, r.options.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.options.ClientAddress = l.Addr().String()
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	pb.RegisterKVServer(server, s)
	pb.RegisterMaintenanceServer(server, s)
	h := health.NewServer()
	h.SetServingStatus("", serving)
	healthpb.RegisterHealthServer(server, h)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
}

func TestProbeAsksForAll(t *testing.T) {
	const serving, not = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING
	for name, tc := range map[string]struct {
		health healthpb.HealthCheckResponse_ServingStatus
		sick   sick
		want   string
	}{
		"well":            {serving, sick{}, ""},
		"not serving":     {not, sick{}, "NOT_SERVING"},
		"no leader":       {serving, sick{read: status.Error(codes.Unavailable, "no leader")}, "cannot be read"},
		"access control":  {serving, sick{read: status.Error(codes.PermissionDenied, "no")}, ""},
		"alarms withheld": {serving, sick{alarm: status.Error(codes.Internal, "no")}, "does not tell its alarms"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			tc.sick.serve(t, r, tc.health)
			err := r.probe(t, r.tls(t))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
