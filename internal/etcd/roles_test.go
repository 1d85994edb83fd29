package etcd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/keyspace"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
)

// secured starts an etcd that knows who may do what.
func secured(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.start(t, "plain")
	r.secure(t)
	return r
}

func (r *rig) secure(t testing.TB) {
	t.Helper()
	c, err := Dial(r.options.ClientAddress, r.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Secure(t.Context(), "/registry"); err != nil {
		t.Fatal(err)
	}
}

// as is a client with the certificate of a tier.
func (r *rig) as(t testing.TB, name tier.Name) *clientv3.Client {
	t.Helper()
	pair := r.paths.EtcdClient(name)
	cfg, err := pki.ClientTLS(r.options.CAFile, pair.Cert, pair.Key, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + r.options.ClientAddress}, TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// denied: a watch passes on the text alone.
func denied(err error) bool {
	return errors.Is(err, rpctypes.ErrPermissionDenied) || err != nil && strings.Contains(err.Error(), "permission denied")
}

// Each tier reads, writes and watches what it stores, and nothing of the others: not a
// key, not a range, not within a transaction.
func TestEachTierIsConfinedToItsKeys(t *testing.T) {
	r := secured(t)
	for _, name := range tier.Order {
		client := r.as(t, name)
		for _, owner := range tier.Order {
			for _, s := range keyspace.Stored(owner, "/registry") {
				key, want := s.From+"x", name == owner
				_, err := client.Get(t.Context(), s.From, clientv3.WithRange(s.To), clientv3.WithLimit(1))
				wantAllowed(t, name, "list", s.From, want, err)
				_, err = client.Get(t.Context(), key)
				wantAllowed(t, name, "get", key, want, err)
				if s.From != keyspace.Stored(owner, "/registry")[0].From {
					continue // reads were all; writes take the disk
				}
				_, err = client.Put(t.Context(), key, "v")
				wantAllowed(t, name, "put", key, want, err)
				_, err = client.Delete(t.Context(), s.From, clientv3.WithRange(s.To))
				wantAllowed(t, name, "delete", key, want, err)
				_, err = client.Txn(t.Context()).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(key)}, nil)).Commit()
				wantAllowed(t, name, "txn", key, want, err)
				_, err = client.Txn(t.Context()).If(clientv3.Compare(clientv3.Value(key), "=", "v")).Commit()
				wantAllowed(t, name, "compare", key, want, err)
				watch := <-client.Watch(t.Context(), s.From, clientv3.WithRange(s.To), clientv3.WithCreatedNotify())
				wantAllowed(t, name, "watch", key, want, watch.Err())
			}
		}
		_, err := client.Get(t.Context(), "/registry/", clientv3.WithPrefix())
		wantAllowed(t, name, "list", "everything", false, err)
		_, err = client.Get(t.Context(), "/registry/health")
		wantAllowed(t, name, "get", "health", true, err)
	}
}

func wantAllowed(t *testing.T, who tier.Name, what, key string, want bool, err error) {
	t.Helper()
	if want && err != nil || !want && !denied(err) {
		t.Errorf("%s: %s %s: %v, want allowed: %v", who, what, key, err, want)
	}
}

// What an earlier version left has no users, roles that have changed, or authentication
// on already: the next start makes it all as it is to be.
func TestRightsAreBroughtUpToDateAtEachStart(t *testing.T) {
	r := newRig(t)
	c := r.start(t, "plain")
	before := r.client(t)
	put(t, before, "/registry/secrets/x", "kept")
	if _, err := before.RoleAdd(t.Context(), "triptych-extensions"); err != nil {
		t.Fatal(err)
	}
	everything := clientv3.PermissionType(clientv3.PermReadWrite)
	if _, err := before.RoleGrantPermission(t.Context(), "triptych-extensions", "/registry/secrets/", "/registry/secrets0", everything); err != nil {
		t.Fatal(err)
	}
	if _, err := r.as(t, tier.Core).Get(t.Context(), "/registry/secrets/x"); err == nil {
		t.Error("a tier was let in before it was known what it may do")
	}
	r.secure(t)
	r.secure(t)
	c.stop()
	r.start(t, "plain")
	if _, err := r.as(t, tier.Extensions).Get(t.Context(), "/registry/secrets/x"); !denied(err) {
		t.Errorf("a right of before is left: %v", err)
	}
	if v := get(t, r.as(t, tier.Core), "/registry/secrets/x"); v != "kept" {
		t.Errorf("core reads %q", v)
	}
}

// A plain etcd then serves the data to whoever it lets in.
func TestDataIsHandedToOthersWithoutRights(t *testing.T) {
	r := newRig(t)
	c := r.start(t, "plain")
	r.secure(t)
	put(t, r.client(t), "/registry/secrets/x", "v")
	c.stop()
	err := Offline(t.Context(), r.options, r.tls(t), func(ctx context.Context, client *Client) error { return client.Open(ctx) })
	if err != nil {
		t.Fatal(err)
	}
	c = r.start(t, "plain")
	s, err := r.client(t).AuthStatus(t.Context())
	if err != nil || s.Enabled {
		t.Errorf("authentication is on: %v %v", s, err)
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	for call, may := range map[string][]tier.Name{
		"/etcdserverpb.KV/Range":              {tier.Core, tier.Extensions, tier.Aggregator, identity.Supervisor},
		"/etcdserverpb.KV/RangeStream":        {tier.Core, tier.Extensions, tier.Aggregator, identity.Supervisor},
		"/etcdserverpb.Maintenance/Status":    {tier.Core, tier.Extensions, tier.Aggregator, identity.Supervisor},
		"/etcdserverpb.KV/Compact":            {tier.Core, identity.Supervisor},
		"/etcdserverpb.Lease/LeaseGrant":      {tier.Core, identity.Supervisor},
		"/etcdserverpb.Auth/Authenticate":     {identity.Supervisor},
		"/etcdserverpb.Maintenance/Snapshot":  {identity.Supervisor},
		"/etcdserverpb.Cluster/MemberRemove":  {identity.Supervisor},
		"/etcdserverpb.Maintenance/Downgrade": {identity.Supervisor},
	} {
		for _, name := range append([]tier.Name{identity.Supervisor, "", "root"}, tier.Order...) {
			if got, want := mayCall(string(name), call), slices.Contains(may, name); got != want {
				t.Errorf("%q may call %s: %v, want %v", name, call, got, want)
			}
		}
	}
}

// What rights cost: 16 clients with the certificate of core, each with a connection of
// its own, with authentication off and on.
func BenchmarkRights(b *testing.B) {
	for _, on := range []bool{false, true} {
		r := newRig(b)
		r.start(b, "plain")
		r.secure(b)
		who := tier.Core
		if !on { // without authentication only the supervisor is let in
			who = identity.Supervisor
			if _, err := r.as(b, who).AuthDisable(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		clients := make(chan *clientv3.Client, 16)
		for range cap(clients) {
			clients <- r.as(b, who)
		}
		run := func(name string, call func(c *clientv3.Client, n int64) error) {
			b.Run(fmt.Sprintf("%s/rights=%v", name, on), func(b *testing.B) {
				var n atomic.Int64
				b.SetParallelism(16 / runtime.GOMAXPROCS(0))
				b.RunParallel(func(p *testing.PB) {
					client := <-clients
					defer func() { clients <- client }()
					for p.Next() {
						if err := call(client, n.Add(1)); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
		value := strings.Repeat("v", 1000)
		run("create", func(c *clientv3.Client, n int64) error {
			_, err := c.Put(b.Context(), fmt.Sprintf("/registry/configmaps/%d", n%10000), value)
			return err
		})
		run("get", func(c *clientv3.Client, n int64) error {
			_, err := c.Get(b.Context(), fmt.Sprintf("/registry/configmaps/%d", n%10000))
			return err
		})
	}
}
