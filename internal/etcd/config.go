package etcd

import (
	"context"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Raft's clock. A lone member still waits for an election before it serves: one
// to electionMs/tickMs ticks, five at least. etcd's own 100 ms and 1 s are made
// for networks and would cost up to a second at every start; with nobody to
// exchange heartbeats with, a shorter election disturbs nobody. But each tick
// wakes the process: idle it takes 1.6 % of a core at 20 ms, 0.9 % at 40 ms and
// 0.7 % at 100 ms.
const (
	tickMs     = 40
	electionMs = 5 * tickMs
)

// progressNotifyInterval is kubeadm's: the API server's watch caches resume
// from the last progress seen when they have to watch again.
const progressNotifyInterval = 5 * time.Second

// peerURL is what the member calls itself in the membership it stores. Nobody
// listens there: a lone member has no peers, and a listener would be one more
// door. It is a constant, because the stored one must not change by accident.
var peerURL = url.URL{Scheme: "https", Host: "127.0.0.1:2380"}

// config translates Options. Streams end when stopping does, guard is asked about every
// call. o is complete.
func config(o Options, log *zap.Logger, stopping context.Context, guard *guard) *embed.Config {
	c := embed.NewConfig()
	c.Name, c.Dir = o.Name, o.DataDir
	c.UnsafeNoFsync = false
	c.QuotaBackendBytes = o.QuotaBytes
	if o.SnapshotCount != 0 {
		c.SnapshotCount = o.SnapshotCount
	}
	c.TickMs, c.ElectionMs = tickMs, electionMs
	c.WatchProgressNotifyInterval = progressNotifyInterval
	// The API server compacts; etcd doing it, too, would cut histories short.
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "0"
	setListeners(c, o)
	// Nobody speaks JSON to it, and the gateway is a client of itself.
	c.EnableGRPCGateway = false
	c.EnablePprof = false
	c.CORS = map[string]struct{}{}
	c.LogLevel = o.LogLevel
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	c.GRPCAdditionalServerOptions = []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(guard.unary), grpc.ChainStreamInterceptor(guard.stream, endWith(stopping)),
	}
	return c
}

// setListeners gives gRPC the client port for itself: sharing it with HTTP puts
// net/http below gRPC, which is slower and starves watches. HTTP moves to a
// socket in the data directory, which only the own user can enter. Peers get no
// listener.
func setListeners(c *embed.Config, o Options) {
	client := url.URL{Scheme: "https", Host: o.ClientAddress}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenClientHttpUrls = []url.URL{{Scheme: "unixs", Path: o.HTTPSocket()}}
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{peerURL}
	c.InitialCluster = c.InitialClusterFromName(o.Name)
	c.ClientTLSInfo = transport.TLSInfo{
		CertFile:       o.CertFile,
		KeyFile:        o.KeyFile,
		TrustedCAFile:  o.CAFile,
		ClientCertAuth: true,
	}
	c.TlsMinVersion = "TLS1.3"
	// The port is held by a Reservation.
	c.SocketOpts = transport.SocketOpts{ReusePort: true}
}

// endWith ends every stream with ctx. Watches never end by themselves, and
// etcd's graceful stop would wait for them until its request timeout.
func endWith(ctx context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		streamCtx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return handle(srv, endingStream{stream, streamCtx})
	}
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }
