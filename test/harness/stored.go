package harness

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Client returns a client of the etcd.
func (e *Etcd) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	client := Must(clientv3.New(clientv3.Config{
		Endpoints: []string{e.URL}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(), TLS: Must(e.TLS())(t),
	}))(t)
	t.Cleanup(func() { client.Close() })
	return client
}

// Stored returns what is stored under a prefix, by key.
func (e *Etcd) Stored(t testing.TB, prefix string) map[string][]byte {
	t.Helper()
	answer := Must(e.Client(t).Get(t.Context(), prefix, clientv3.WithPrefix()))(t)
	all := map[string][]byte{}
	for _, kv := range answer.Kvs {
		all[string(kv.Key)] = kv.Value
	}
	return all
}

// Encoding names how an API server stored a value: the prefix of an encryption
// provider with the name of its key, "protobuf" or "json".
func Encoding(value []byte) string {
	text := string(value)
	if rest, ok := strings.CutPrefix(text, "k8s:enc:"); ok {
		parts := strings.SplitN(rest, ":", 4)
		return "k8s:enc:" + strings.Join(parts[:min(3, len(parts))], ":")
	}
	switch {
	case strings.HasPrefix(text, "k8s\x00"):
		return "protobuf"
	case strings.HasPrefix(text, "{"):
		return "json"
	}
	return "other"
}

// TLS is how a client of the etcd connects.
func (e *Etcd) TLS() (*tls.Config, error) {
	files := transport.TLSInfo{TrustedCAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile}
	return files.ClientConfig()
}
