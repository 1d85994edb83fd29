package custody

import (
	"fmt"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"triptych.dev/triptych/internal/wiring"
)

// callTimeout bounds one small call.
const callTimeout = 10 * time.Second

// Dial returns a client of e. Nothing is sent yet; files that cannot be read are an
// error.
func Dial(e wiring.Etcd, options ...grpc.DialOption) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: e.Servers, DialOptions: options, Logger: zap.NewNop(),
		DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: callTimeout,
	}
	if e.CAFile != "" || e.CertFile != "" {
		files := transport.TLSInfo{TrustedCAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile}
		var err error
		if c.TLS, err = files.ClientConfig(); err != nil {
			return nil, fmt.Errorf("cannot dial etcd at %v: %w", e.Servers, err)
		}
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("cannot dial etcd at %v: %w", e.Servers, err)
	}
	return client, nil
}
