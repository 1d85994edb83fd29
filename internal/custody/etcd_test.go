package custody

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"triptych.dev/triptych/internal/wiring"
)

const prefix = "/registry"

// Whoever serves in these tests stops at once.
func init() { othersGrace = 0 }

// start runs an etcd and returns a client of it.
func start(t *testing.T) *clientv3.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs, c.UnsafeNoFsync = dir, "fatal", []string{"stderr"}, true
	c.TickMs, c.ElectionMs = 10, 100
	client, peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}, url.URL{Scheme: "unix", Path: dir + "/p"}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.Name + "=" + peer.String()
	server, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	dialed, err := Dial(wiring.Etcd{Servers: []string{"http://" + server.Clients[0].Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	return dialed
}

func put(t *testing.T, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	done, err := c.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return done.Header.Revision
}

func remove(t *testing.T, c *clientv3.Client, key string) {
	t.Helper()
	if _, err := c.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// stored returns everything but what is this package's own.
func stored(t *testing.T, c *clientv3.Client) map[string]string {
	t.Helper()
	answer, err := c.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, kv := range answer.Kvs {
		if key := string(kv.Key); key != under(prefix).record() && key != under(prefix).name() {
			all[key] = string(kv.Value)
		}
	}
	return all
}

// fill stores what a cluster has: CRDs and their objects, objects whose CRD is gone, and
// what is none of extensions'.
func fill(t *testing.T, c *clientv3.Client) (extensions, others map[string]string) {
	t.Helper()
	extensions, others = map[string]string{}, map[string]string{}
	for _, crd := range []string{"gadgets.example.com", "widgets.a.example.com"} {
		extensions["/registry/apiextensions.k8s.io/customresourcedefinitions/"+crd] = "crd " + crd
	}
	for i := range 250 {
		extensions[fmt.Sprintf("/registry/example.com/gadgets/default/g%d", i)] = fmt.Sprint(i)
	}
	extensions["/registry/a.example.com/widgets/cluster-wide"] = "w"
	extensions["/registry/gone.example.com/orphans/default/o"] = "o"
	for _, key := range []string{
		"/registry/pods/default/p", "/registry/health", "/registry/services/specs/default/s", "/registry/example/x",
		"/registry/apiregistration.k8s.io/apiservices/v1.example.com", "/elsewhere/example.com/gadgets/default/g1",
	} {
		others[key] = "other"
	}
	for _, all := range []map[string]string{extensions, others} {
		for key, value := range all {
			put(t, c, key, value)
		}
	}
	delete(others, "/elsewhere/example.com/gadgets/default/g1")
	return extensions, others
}

// move moves and fails the test if that does not do.
func move(t *testing.T, main, source, target *clientv3.Client, halt func()) *Moved {
	t.Helper()
	done, err := (&Move{Main: main, Source: source, Target: target, Prefix: prefix, Say: t.Logf, Halt: func(context.Context) error {
		if halt != nil {
			halt()
		}
		return nil
	}}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// allowed tells whether extensions may serve with these, within a moment.
func allowed(t *testing.T, main, own *clientv3.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	return Keeper{Main: main, Own: own, Prefix: prefix}.Await(ctx, func(err error) { t.Log(err) })
}
