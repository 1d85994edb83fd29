package dialer

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/sshaccess"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/tunnel"
)

func TestOnlyOtherTiersMayAskForConnections(t *testing.T) {
	for peer, want := range map[identity.Peer]bool{
		{Name: tier.Aggregator, Role: identity.Self}: true, {Name: tier.Extensions, Role: identity.Self}: true,
		{Name: tier.Aggregator, Role: identity.Delegation}: false, {Name: tier.Core, Role: identity.Self}: false,
		{Name: identity.Supervisor, Role: identity.Delegation}: false,
	} {
		if mayConnect(peer) != want {
			t.Errorf("%s: %t", peer, !want)
		}
	}
	// And nobody on the secure port, where there is no peer.
	reached := false
	n := known(t)
	n.Connecting(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })).
		ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodConnect, "10.0.0.1:10250", nil))
	if !reached {
		t.Error("a CONNECT from outside does not meet the handler chain")
	}
}

// asked sends a CONNECT to a server that dials by dial.
func asked(t *testing.T, dial utilnet.DialFunc, target string) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { connect(w, r, dial) }))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return response, conn, in
}

func TestConnectJoinsBothEndsByteForByte(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sent, _ := io.ReadAll(conn) // to the end: it is passed on
		_, _ = conn.Write(append([]byte("heard "), sent...))
	}()
	var address string
	response, conn, in := asked(t, func(ctx context.Context, network, target string) (net.Conn, error) {
		address = target
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}, "far.example:443")
	if response.StatusCode != http.StatusOK || address != "far.example:443" {
		t.Fatalf("%s to %s", response.Status, address)
	}
	sent := strings.Repeat("bytes\x00\xff\n", 100_000)
	go func() {
		_, _ = io.WriteString(conn, sent)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(in); err != nil || string(got) != "heard "+sent {
		t.Errorf("%d bytes come back, %v", len(got), err)
	}
}

func TestConnectSaysWhyItCannot(t *testing.T) {
	response, _, in := asked(t, func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no tunnel\r\nX-Forged: yes")
	}, "10.0.0.1:443")
	if response.Status != "503 no tunnel X-Forged: yes" || response.Header.Get("X-Forged") != "" {
		t.Errorf("%q, %v", response.Status, response.Header)
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("and then %q", rest)
	}
}

func TestOnlyWhatIsForNodesGoesThroughSSH(t *testing.T) {
	marked := func(mark string) utilnet.DialFunc {
		return func(context.Context, string, string) (net.Conn, error) { return nil, errors.New(mark) }
	}
	said := func(c *genericapiserver.Config, of egressselector.EgressType) string {
		dial, err := c.EgressSelector.Lookup(of.AsNetworkContext())
		if err != nil {
			t.Fatal(err)
		}
		if dial == nil {
			return "direct"
		}
		_, err = dial(t.Context(), "tcp", "10.0.0.1:1")
		return err.Error()
	}
	none, etcd := &genericapiserver.Config{}, &genericapiserver.Config{EgressSelector: egressselector.NewEgressSelectorWithMap(
		map[egressselector.EgressType]utilnet.DialFunc{egressselector.Etcd: marked("etcd")})}
	for name, c := range map[string]struct {
		config *genericapiserver.Config
		want   []string
	}{"nothing else selected": {none, []string{"ssh", "direct", "direct"}}, "etcd's way selected": {etcd, []string{"ssh", "direct", "etcd"}}} {
		if err := selectCluster(c.config, marked("ssh")); err != nil {
			t.Fatal(err)
		}
		got := []string{said(c.config, egressselector.Cluster), said(c.config, egressselector.ControlPlane), said(c.config, egressselector.Etcd)}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if err := selectCluster(none, marked("again")); !errors.Is(err, errBoth) {
		t.Errorf("two ways: %v", err)
	}
}

// known is a Nodes that knows two nodes and a pod, and connects to nobody.
func known(t *testing.T) *Nodes {
	t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	o := &Options{sshaccess.Access{User: "ops"}}
	n := &Nodes{
		keeper: tunnel.New(sshaccess.NewRoute(&o.Access).Connect), route: sshaccess.NewRoute(&o.Access),
		nodes: factory.Core().V1().Nodes().Lister(), pods: factory.Core().V1().Pods().Lister(),
		types: []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeHostName},
	}
	t.Cleanup(n.Close)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
		{Type: corev1.NodeHostName, Address: "one.example"}, {Type: corev1.NodeExternalIP, Address: "203.0.113.1"},
		{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "fd00::1"},
	}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod"}, Spec: corev1.PodSpec{NodeName: "one"}}
	if err := errors.Join(factory.Core().V1().Nodes().Informer().GetStore().Add(node), factory.Core().V1().Pods().Informer().GetStore().Add(pod)); err != nil {
		t.Fatal(err)
	}
	n.keeper.Sync(reached([]*corev1.Node{node}, n.types))
	return n
}

func TestNodesAreReachedAtTheirPreferredAddresses(t *testing.T) {
	n := known(t)
	node, err := n.nodes.Get("one")
	if err != nil {
		t.Fatal(err)
	}
	want := []tunnel.Node{{Name: "one", Addresses: []string{"10.0.0.1", "fd00::1", "one.example"}}}
	if diff := cmp.Diff(want, reached([]*corev1.Node{node}, n.types)); diff != "" {
		t.Error(diff)
	}
	beaten := node.DeepCopy()
	beaten.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}}
	moved := node.DeepCopy()
	moved.Status.Addresses[2].Address = "10.0.0.2"
	if !sameAddresses(node, beaten) || sameAddresses(node, moved) {
		t.Error("a heartbeat is not told from a move")
	}
}

func TestWhatNeedsANodeIs503WhileItCannotBeReached(t *testing.T) {
	n := known(t)
	for name, c := range map[string]struct {
		info request.RequestInfo
		asks string
		is   int
	}{
		"logs":               {request.RequestInfo{Resource: "pods", Namespace: "default", Name: "pod", Subresource: "log"}, "10.0.0.1", 503},
		"exec":               {request.RequestInfo{Resource: "pods", Namespace: "default", Name: "pod", Subresource: "exec"}, "10.0.0.1", 503},
		"an unknown pod":     {request.RequestInfo{Resource: "pods", Namespace: "default", Name: "other", Subresource: "exec"}, "", 503},
		"a proxy to a pod":   {request.RequestInfo{Resource: "pods", Namespace: "default", Name: "pod", Subresource: "proxy"}, "", 503},
		"a proxy to a node":  {request.RequestInfo{Resource: "nodes", Name: "https:one:10250", Subresource: "proxy"}, "10.0.0.1", 503},
		"a node's status":    {request.RequestInfo{Resource: "nodes", Name: "one", Subresource: "status"}, "", 200},
		"a list of pods":     {request.RequestInfo{Resource: "pods"}, "", 200},
		"another's resource": {request.RequestInfo{Resource: "pods", APIGroup: "x.example", Name: "pod", Subresource: "exec"}, "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			c.info.IsResourceRequest = true
			if c.info.Subresource != "status" && c.asks != "" && n.asked(&c.info) != c.asks {
				t.Errorf("asks for %q", n.asked(&c.info))
			}
			handler := n.Guarded(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
				func(w http.ResponseWriter, _ *http.Request, why string) {
					http.Error(w, why, http.StatusServiceUnavailable)
				})
			w := httptest.NewRecorder()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			r := httptest.NewRequestWithContext(request.WithRequestInfo(ctx, &c.info), http.MethodGet, "/", nil)
			handler.ServeHTTP(w, r)
			if w.Code != c.is || c.is == 503 && !strings.Contains(w.Body.String(), "node one") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
