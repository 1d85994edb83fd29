package harness

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

// Via is how an API server speaks to the proxy of one egress type.
type Via string

// GRPC is konnectivity's own protocol, Connect is HTTP CONNECT on a Unix socket
// and Mutual the same over TCP with mutual TLS. Direct is no proxy at all.
const (
	GRPC    Via = "grpc"
	Connect Via = "connect"
	Mutual  Via = "mutual"
	Direct  Via = "direct"
)

// Egress is the network proxies of one API server, one for each egress type. They
// know where addresses lead to that nobody else can reach.
type Egress struct {
	// ConfigFile is for --egress-selector-config-file.
	ConfigFile string

	dir      string
	pair     *Pair
	ca       *Pair
	via      map[string]Via
	mu       sync.Mutex
	ports    map[string]string // of TCP, by egress type
	routes   map[string]string
	dials    map[Dial]int
	sockets  []io.Closer
	refusing bool
}

// Dial is that somebody asked a proxy for a connection.
type Dial struct {
	// Egress is the type, "cluster".
	Egress string
	// By is the program of the process, or the name in its certificate over TCP.
	By     string
	Target string
}

// NewEgress writes a configuration of proxies, which wait for Open.
func NewEgress(t testing.TB, via map[string]Via) *Egress {
	t.Helper()
	e := &Egress{
		dir: TempDir(t), via: via, ca: Must(NewCA("egress-ca"))(t),
		ports: map[string]string{}, routes: map[string]string{}, dials: map[Dial]int{},
	}
	e.pair = Must(e.ca.Issue(Leaf{CommonName: "proxy", Hosts: []string{"127.0.0.1"}, Usage: serverUsage}))(t)
	for name, pair := range map[string]*Pair{"ca": e.ca, "client": Must(e.ca.Issue(Leaf{CommonName: EgressClient, Usage: clientUsage}))(t)} {
		if err := pair.Write(e.dir + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	e.ConfigFile = e.dir + "/egress.yaml"
	config := &strings.Builder{}
	config.WriteString("apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n")
	for name, via := range via {
		if via == Mutual {
			e.ports[name] = fmt.Sprint(Must(FreePort())(t))
		}
		fmt.Fprintf(config, "- {name: %s, connection: {%s}}\n", name, strings.NewReplacer(
			"SOCKET", e.socket(name), "PORT", e.ports[name], "DIR", e.dir).Replace(connections[via]))
	}
	WriteFile(t, e.ConfigFile, []byte(config.String()), 0o600)
	t.Cleanup(e.Close)
	return e
}

var connections = map[Via]string{
	GRPC:    "proxyProtocol: GRPC, transport: {uds: {udsName: SOCKET}}",
	Connect: "proxyProtocol: HTTPConnect, transport: {uds: {udsName: SOCKET}}",
	Mutual: `proxyProtocol: HTTPConnect, transport: {tcp: {url: "https://127.0.0.1:PORT",
    tlsConfig: {caBundle: DIR/ca.crt, clientCert: DIR/client.crt, clientKey: DIR/client.key}}}`,
	Direct: "proxyProtocol: Direct",
}

// EgressClient is the name in the certificate of those who call over TCP.
const EgressClient = "egress-client"

// Via returns how the proxies of egress are spoken to, Direct if there are none.
func (e *Egress) Via(egress string) Via {
	if via, ok := e.via[egress]; ok {
		return via
	}
	return Direct
}

func (e *Egress) socket(egress string) string { return filepath.Join(e.dir, egress+".sock") }

// Route has the proxies of egress lead address to where it is. Without a proxy
// address is of no use, and to is returned for it.
func (e *Egress) Route(egress, address, to string) string {
	if e.Via(egress) == Direct {
		return to
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.routes[egress+" "+address] = to
	return address
}

// Dials returns how often each address was asked for since the last call.
func (e *Egress) Dials() map[Dial]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	dials := e.dials
	e.dials = map[Dial]int{}
	return dials
}

// Refuse has the proxies refuse what they are asked for, or no longer.
func (e *Egress) Refuse(refuse bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusing = refuse
}

// listen opens the socket of a proxy to the tiers, whoever they run as: the proxy tells them apart by
// who dials, which the supervisor leaves to them where the socket is there, if nobody listens yet.
func (e *Egress) listen(t testing.TB, egress string) net.Listener {
	os.Remove(e.socket(egress))
	l := Must(net.ListenUnix("unix", &net.UnixAddr{Name: e.socket(egress), Net: "unix"}))(t)
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(e.socket(egress), 0o666); err != nil {
		t.Fatal(err)
	}
	return l
}

// Announce has the sockets be there, and nobody listen.
func (e *Egress) Announce(t testing.TB) {
	t.Helper()
	for name, via := range e.via {
		if via == GRPC || via == Connect {
			e.listen(t, name).Close()
		}
	}
}

// Open has all proxies listen.
func (e *Egress) Open(t testing.TB) {
	t.Helper()
	for name, via := range e.via {
		switch via {
		case GRPC:
			server := grpc.NewServer()
			konnectivity.RegisterProxyServiceServer(server, konnectivityOf{e, name})
			go server.Serve(known{e.listen(t, name)})
			e.hold(stopper(server.Stop))
		case Connect:
			go e.accept(name, known{e.listen(t, name)})
		case Mutual:
			var l net.Listener
			Eventually(t, time.Minute, "nobody else has the port meanwhile", func() (err error) { // somebody's connection may
				l, err = tls.Listen("tcp", "127.0.0.1:"+e.ports[name], &tls.Config{
					Certificates: []tls.Certificate{e.pair.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: e.ca.Pool(),
				})
				return err
			})
			go e.accept(name, l)
		}
	}
}

type stopper func()

func (s stopper) Close() error { s(); return nil }

// Close ends all proxies and what goes through them.
func (e *Egress) Close() {
	e.mu.Lock()
	sockets := e.sockets
	e.sockets = nil
	e.mu.Unlock()
	for _, socket := range sockets {
		socket.Close()
	}
}

func (e *Egress) hold(c io.Closer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sockets = append(e.sockets, c)
}

// reach counts the dial and makes the connection.
func (e *Egress) reach(egress, by, target string) (net.Conn, error) {
	e.mu.Lock()
	e.dials[Dial{Egress: egress, By: by, Target: target}]++
	to, ok := e.routes[egress+" "+target]
	refusing := e.refusing
	e.mu.Unlock()
	if !ok || refusing {
		return nil, fmt.Errorf("no route to %s", target)
	}
	conn, err := net.Dial("tcp", to)
	if err == nil {
		e.hold(conn)
	}
	return conn, err
}
