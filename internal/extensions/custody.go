package extensions

import (
	"context"
	"errors"
	"fmt"
	"net"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/wiring"
)

// keeper reaches the etcd of the flags and, where that is not core's, core's.
func keeper(main *wiring.Etcd, c storagebackend.Config, egress *egressselector.EgressSelector) (custody.Keeper, error) {
	k := custody.Keeper{Prefix: c.Prefix}
	options, err := etcdDialer(egress)
	if err != nil {
		return k, err
	}
	t := c.Transport
	given, err := custody.Dial(wiring.Etcd{Servers: t.ServerList, CAFile: t.TrustedCAFile, CertFile: t.CertFile, KeyFile: t.KeyFile}, options...)
	if err != nil || main == nil {
		k.Main = given
		return k, err
	}
	k.Own = given
	k.Main, err = custody.Dial(*main, options...)
	return k, err
}

// etcdDialer goes the way of the egress selector, as all calls to etcd.
func etcdDialer(egress *egressselector.EgressSelector) ([]grpc.DialOption, error) {
	if egress == nil {
		return nil, nil
	}
	dial, err := egress.Lookup(egressselector.Etcd.AsNetworkContext())
	if err != nil || dial == nil {
		return nil, err
	}
	return []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	})}, nil
}

// awaitCustody returns when the etcd of the flags is known to hold what is to be served,
// and a context that ends when that is no longer so.
func awaitCustody(ctx context.Context, p *process.Process, o *Options, c *genericapiserver.RecommendedConfig) (context.Context, error) {
	k, err := keeper(p.Wiring.MainEtcd, o.Etcd.StorageConfig, c.EgressSelector)
	if err != nil {
		return nil, process.ConfigurationError{Err: err}
	}
	err = k.Await(ctx, func(err error) {
		klog.InfoS("Waiting until it is known which etcd holds custom resources", "reason", err)
	})
	if errors.As(err, new(*custody.Misplaced)) {
		return nil, process.ConfigurationError{Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("told to stop before it was known which etcd holds custom resources: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		defer closeAll(k)
		if err := k.Follow(ctx); err != nil {
			klog.ErrorS(err, "Stopping: this etcd is not to be served from any more")
		}
	}()
	return ctx, nil
}

func closeAll(k custody.Keeper) {
	for _, client := range []*clientv3.Client{k.Main, k.Own} {
		if client != nil {
			client.Close()
		}
	}
}
