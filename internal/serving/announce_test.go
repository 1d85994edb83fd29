package serving

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/process"
)

// answering is a server whose handlers answer every path with the given text.
func answering(code int, text string) *genericapiserver.GenericAPIServer {
	return &genericapiserver.GenericAPIServer{Handler: &genericapiserver.APIServerHandler{
		Director: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}),
	}}
}

// announcements takes what a process tells of itself.
type announcements struct {
	grpc.ServerStream
	ctx  context.Context
	sent chan *handshakev1.RoutesResponse
}

func (a announcements) Context() context.Context { return a.ctx }
func (a announcements) Send(m *handshakev1.RoutesResponse) error {
	select {
	case a.sent <- m:
	case <-a.ctx.Done():
	}
	return nil
}

// await returns the first announcement for which ok is true.
func (a announcements) await(t *testing.T, ok func(*handshakev1.RoutesResponse) bool) *handshakev1.RoutesResponse {
	t.Helper()
	for {
		select {
		case m := <-a.sent:
			if ok(m) {
				return m
			}
		case <-t.Context().Done():
			t.Fatal("nothing of the kind was announced")
		}
	}
}

// announcing is a server that announces, and what it announced.
func announcing(t *testing.T, registry Registry, prepare func(*genericapiserver.GenericAPIServer)) (*announcer, announcements) {
	t.Helper()
	server, err := newConfigOf(t).Complete(nil).New("test", genericapiserver.NewEmptyDelegate())
	if err != nil {
		t.Fatal(err)
	}
	prepare(server)
	p := &process.Process{Handshake: handshake.NewServer(&tls.Config{}, &handshakev1.DescribeResponse{Incarnation: "first"})}
	ctx, cancel := context.WithCancel(context.Background())
	a, err := announce(ctx, p, server, registry)
	if err != nil {
		t.Fatal(err)
	}
	got := announcements{ctx: ctx, sent: make(chan *handshakev1.RoutesResponse)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Handshake.Routes(&handshakev1.RoutesRequest{Discovery: true}, got)
	}()
	t.Cleanup(func() { cancel(); <-done; p.Handshake.Stop(); server.Destroy() })
	return a, got
}

func groups(m *handshakev1.RoutesResponse) []string {
	var out []string
	for _, gv := range m.GetGroupVersions() {
		out = append(out, gv.GetGroup()+"/"+gv.GetVersion())
	}
	slices.Sort(out)
	return out
}

var apps, example = metav1.GroupVersion{Group: "apps", Version: "v1"}, metav1.GroupVersion{Group: "example.org", Version: "v1"}

// registering is a registry of what was sent to it.
type registering struct {
	now      []metav1.GroupVersion
	onChange func()
}

func (r *registering) GroupVersions() []metav1.GroupVersion { return r.now }
func (r *registering) OnChange(f func()) error              { r.onChange = f; return nil }

func TestWhatIsRegisteredIsAnnouncedBeforeItIsDescribed(t *testing.T) {
	registry := &registering{now: []metav1.GroupVersion{apps, example, example}}
	_, got := announcing(t, registry, func(s *genericapiserver.GenericAPIServer) {
		s.AggregatedDiscoveryGroupManager.AddGroupVersion("apps", apidiscoveryv2.APIVersionDiscovery{Version: "v1"})
	})
	registry.onChange()
	last := got.await(t, func(m *handshakev1.RoutesResponse) bool {
		return reflect.DeepEqual(groups(m), []string{"apps/v1", "example.org/v1"})
	})
	if described, err := groupVersions(last.GetGroups()); err != nil || !slices.Equal(described, []metav1.GroupVersion{apps}) {
		t.Errorf("the document is of %v, %v", described, err)
	}
}

func TestWhatIsServedIsAnnouncedAtOnceAndWheneverItChanges(t *testing.T) {
	a, got := announcing(t, nil, func(s *genericapiserver.GenericAPIServer) {
		s.AggregatedDiscoveryGroupManager.AddGroupVersion("apps", apidiscoveryv2.APIVersionDiscovery{Version: "v1"})
		s.Handler.NonGoRestfulMux.Handle("/apis/apps/v1", http.NotFoundHandler())
	})
	// The second is of the signals that every path is installed.
	first := got.await(t, func(m *handshakev1.RoutesResponse) bool { return m.GetGeneration() == 2 })
	if !reflect.DeepEqual(groups(first), []string{"apps/v1"}) || !slices.Contains(first.GetListedPaths(), "/apis/apps/v1") {
		t.Errorf("got %v", first)
	}
	a.server.AggregatedDiscoveryGroupManager.AddGroupVersion("example.org", apidiscoveryv2.APIVersionDiscovery{Version: "v1"})
	second := got.await(t, func(m *handshakev1.RoutesResponse) bool {
		return reflect.DeepEqual(groups(m), []string{"apps/v1", "example.org/v1"})
	})
	along, err := groupVersions(second.GetGroups())
	if err != nil || !sets.New(along...).HasAll(apps, example) || len(along) != 2 {
		t.Errorf("its document is of %v, %v", along, err)
	}
	a.server.AggregatedDiscoveryGroupManager.RemoveGroup("example.org")
	got.await(t, func(m *handshakev1.RoutesResponse) bool { return reflect.DeepEqual(groups(m), []string{"apps/v1"}) })
}

// laborious is a registry of which it takes long to tell what is in it.
type laborious struct {
	registering
	told atomic.Int64
}

func (l *laborious) GroupVersions() []metav1.GroupVersion {
	l.told.Add(1)
	time.Sleep(10 * time.Millisecond)
	return []metav1.GroupVersion{{Group: "example.org", Version: fmt.Sprint("v", l.told.Load())}}
}

func TestManyChangesAreAnnouncedTogetherTheMoreEachAnnouncementCosts(t *testing.T) {
	registry := &laborious{}
	_, got := announcing(t, registry, func(*genericapiserver.GenericAPIServer) {})
	go func() {
		for {
			select {
			case <-got.sent:
			case <-got.ctx.Done():
				return
			}
		}
	}()
	const hammered = 600 * time.Millisecond
	for began := time.Now(); time.Since(began) < hammered; time.Sleep(time.Millisecond) {
		registry.onChange()
	}
	if n := registry.told.Load(); n > 5 {
		t.Errorf("within %v %d announcements were made, each for at least 10 ms", hammered, n)
	}
	before := registry.told.Load()
	registry.onChange()
	for registry.told.Load() == before { // the last change is announced, however many were before
		if t.Context().Err() != nil {
			t.Fatal("the last change is not announced")
		}
		time.Sleep(time.Millisecond)
	}
}

// What is missing from an incomplete announcement is taken for starting, from a
// complete one for gone.
func TestAnAnnouncementIsCompleteOnlyWhenEveryPathIsInstalledAndTheServerReady(t *testing.T) {
	for name, c := range map[string]struct{ installed, ready, want bool }{
		"neither":   {},
		"installed": {installed: true},
		"ready":     {ready: true},
		"both":      {installed: true, ready: true, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			installed := make(chan struct{})
			a, got := announcing(t, nil, func(s *genericapiserver.GenericAPIServer) {
				if err := s.RegisterMuxAndDiscoveryCompleteSignal("paths", installed); err != nil {
					t.Fatal(err)
				}
			})
			first := got.await(t, func(*handshakev1.RoutesResponse) bool { return true })
			if first.GetComplete() {
				t.Error("complete at once")
			}
			if c.installed {
				close(installed)
			}
			if c.ready {
				a.becameReady()
			}
			a.notify()
			got.await(t, func(m *handshakev1.RoutesResponse) bool { return m.GetComplete() == c.want })
			if a.complete() != c.want {
				t.Errorf("complete is %v, want %v", a.complete(), c.want)
			}
		})
	}
}

func TestTheDiscoveryDocumentIsToldThoughNobodyServesIt(t *testing.T) {
	a, _ := announcing(t, nil, func(s *genericapiserver.GenericAPIServer) {
		s.AggregatedDiscoveryGroupManager.AddGroupVersion("apps", apidiscoveryv2.APIVersionDiscovery{Version: "v1"})
	})
	answer, err := a.process.Handshake.Discovery(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := groupVersions(answer.GetGroups())
	if err != nil || len(got) != 1 || got[0] != apps || len(answer.GetGroups()) == 0 {
		t.Errorf("got %v, %v, %s", got, err, answer.GetGroups())
	}
}
