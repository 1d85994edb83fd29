package backup

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/wiring"
)

// theirs runs an etcd of the user's, with some keys, and returns where it is and its revision.
func theirs(t *testing.T) (wiring.Etcd, int64) {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := embed.NewConfig()
	c.Dir, c.LogLevel, c.LogOutputs, c.UnsafeNoFsync = dir, "fatal", []string{"stderr"}, true
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
	at := wiring.Etcd{Servers: []string{"http://" + server.Clients[0].Addr().String()}}
	dialed, err := custody.Dial(at)
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	var revision int64
	for i := range 50 {
		put, err := dialed.Put(t.Context(), fmt.Sprint("/registry/pods/default/p", i), "p")
		if err != nil {
			t.Fatal(err)
		}
		revision = put.Header.Revision
	}
	return at, revision
}

// All that an etcd has is the embedded one's with the same revisions, or nothing is; what is there is kept.
func TestAllOfAnEtcdBecomesTheEmbeddedOnes(t *testing.T) {
	from, revision := theirs(t)
	h, err := datadir.Open(filepath.Join(t.TempDir(), "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	tell := func(string, int64, int64) {}
	refused := errors.New("no")
	if _, err := ToEmbedded(t.Context(), h, from, false, func(context.Context) (func(context.Context) error, error) { return nil, refused }, tell); !errors.Is(err, refused) {
		t.Errorf("not left: %v", err)
	}
	if has, _ := filepath.Glob(filepath.Join(h.Etcd(), "*")); len(has) > 0 {
		t.Errorf("after an error there is %v", has)
	}
	left := false
	leave := func(context.Context) (func(context.Context) error, error) {
		left = true
		return func(ctx context.Context) error { left = false; return ctx.Err() }, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	cut := func(string, int64, int64) { cancel() }
	if _, err := ToEmbedded(ctx, h, from, false, leave, cut); err == nil || left {
		t.Errorf("cut short: %v, left %v", err, left)
	}
	if has, _ := filepath.Glob(filepath.Join(h.Etcd(), "*")); len(has) > 0 {
		t.Errorf("after it was cut short there is %v", has)
	}
	done, err := ToEmbedded(t.Context(), h, from, false, leave, tell)
	if err != nil || !left || done.Etcd.Revision != revision || done.Aside != "" {
		t.Fatalf("%+v, left %v: %v", done, left, err)
	}
	is, err := etcd.Extract(t.Context(), etcd.Extraction{Dir: h.Etcd(), Scratch: t.TempDir(), To: filepath.Join(t.TempDir(), "db")}, func(int64, int64) {})
	if err != nil || is.Revision != revision || is.Keys != 50 {
		t.Errorf("%+v, want revision %d: %v", is, revision, err)
	}
	left = false
	if _, err := ToEmbedded(t.Context(), h, from, false, leave, tell); !errors.As(err, new(*OccupiedError)) || left {
		t.Errorf("over data: %v, left %v", err, left)
	}
	done, err = ToEmbedded(t.Context(), h, from, true, leave, tell)
	if _, missing := os.Stat(filepath.Join(done.Aside, "etcd", "member")); err != nil || missing != nil {
		t.Errorf("%+v: %v %v", done, err, missing)
	}
}
