package spine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
	"triptych.dev/triptych/test/harness"
)

// door is a socket by which somebody could come in.
type door struct {
	name, network, address string
	// peer is how who may come in connects; nil where nothing is encrypted.
	peer *tls.Config
	// public is open to strangers; http1 speaks HTTP/1.1 and http2 HTTP/2 to who came in; owned is for the users that the
	// kernel says.
	public, http1, http2, owned bool
	// patience is after how long who says nothing must be gone, 0 for not at all: etcd leaves that to its library.
	patience time.Duration
}

// dial connects as who may come in, or as a stranger with a certificate or none.
func (d door) dial(config *tls.Config) (net.Conn, error) {
	conn, err := net.DialTimeout(d.network, d.address, soon)
	if err != nil || config == nil {
		return conn, err
	}
	over := tls.Client(conn, config)
	_ = conn.SetDeadline(time.Now().Add(soon))
	if err := over.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	return over, conn.SetDeadline(time.Time{})
}

// doorsOf are all that there should be, by address. metrics is --metrics-bind-address.
func doorsOf(t *testing.T, c *harness.Cluster, metrics string) map[string]door {
	t.Helper()
	in := insideOf(t, c)
	w := harness.Must(wiring.Load(c.Path("run", "core-0.wiring.json"), tier.Core))(t)
	status := c.WaitReady(t)
	etcd := c.EtcdAs(t, "etcd/core-client")
	etcdTLS := harness.Must(etcd.TLS())(t)
	etcdTLS.ServerName = "127.0.0.1"
	admin := c.TLS(t)
	admin.ServerName = "127.0.0.1"
	// The head's and stock's server give up after 32 s, ours after 30 s.
	const cut = 45 * time.Second
	all := []door{
		{name: "secure port", network: "tcp", address: strings.TrimPrefix(c.URL(t), "https://"), peer: &tls.Config{InsecureSkipVerify: true}, public: true, http1: true, http2: true, patience: cut},
		{name: "insecure port", network: "tcp", address: strings.TrimPrefix(status.InsecureURL, "http://"), public: true, http1: true, patience: cut},
		{name: "metrics", network: "tcp", address: metrics, peer: admin, public: true, http1: true, patience: cut},
		{name: "control socket", network: "unix", address: c.Path("run", "control.sock"), owned: true, http1: true, patience: cut},
		{name: "etcd", network: "tcp", address: strings.TrimPrefix(etcd.URL, "https://"), peer: etcdTLS, http2: true},
		{name: "etcd's health", network: "unix", address: c.Path("etcd", "http.sock"), peer: etcdTLS, http1: true},
	}
	peers := map[tier.Name]string{tier.Extensions: "core-delegation", tier.Core: "aggregator-delegation", tier.Aggregator: "supervisor-delegation"}
	for name, replicas := range w.Tiers {
		for _, at := range replicas {
			may := in.config(name, certificate(t, c, "internal/"+peers[name]))
			all = append(all,
				door{name: at.Replica + " hop", network: "tcp", address: at.Hop, peer: may, http1: true, http2: true, patience: cut},
				door{name: at.Replica + " handshake", network: "tcp", address: at.Handshake, peer: in.config(name, certificate(t, c, "internal/supervisor-self")), http2: true, patience: cut},
				// What is said there once TLS has left is internal/hop's own.
				door{name: at.Replica + " hop socket", network: "unix", address: at.HopSocket, peer: may, patience: cut})
		}
	}
	doors := map[string]door{}
	for _, d := range all {
		doors[d.network+" "+d.address] = d
	}
	return doors
}

// Every socket that any process listens on, by the kernel's list: what is not among those that are known here fails, so
// that nobody opens one without a thought. Each is then abused, all at once.
func TestEveryListenerIsKnownAndWithstandsAbuse(t *testing.T) {
	t.Parallel()
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	metrics := fmt.Sprintf("127.0.0.1:%d", harness.Must(harness.FreePort())(t))
	c := harness.Run(t, harness.Options{Args: []string{
		"--hop-transport=unix", "--metrics-bind-address=" + metrics, fmt.Sprintf("--insecure-port=%d", harness.Must(harness.FreePort())(t)),
		"--audit-policy-file=" + files + "/audit.yaml", "--audit-log-path=" + files + "/audit.log",
	}})
	doors := doorsOf(t, c, metrics)
	var pids []int
	for _, p := range harness.ProcsOf(c.Dir) {
		pids = append(pids, p.PID)
	}
	if len(pids) != 5 {
		t.Fatalf("%d processes", len(pids))
	}
	seen := map[string]bool{}
	for _, s := range harness.Must(harness.SocketsOf(pids))(t) {
		where := s.Network + " " + strings.Replace(s.Address, "[::]:", "127.0.0.1:", 1) // the secure port is on all
		seen[where] = true
		if _, known := doors[where]; !known {
			t.Errorf("%s listens, and no test knows what for", s)
		}
	}
	for where, d := range doors {
		if !seen[where] {
			t.Errorf("%s does not listen on %s", d.name, where)
		}
	}
	before := sizesOf(t, c, pids)
	var abusers sync.WaitGroup
	for _, d := range doors {
		abusers.Go(func() { abuse(t, d) })
	}
	otherUsersStayOut(t, c)
	renegotiation(t, doors)
	for range 20 {
		if got := c.Get(t, "/api/v1/namespaces"); got.Code != http.StatusOK {
			t.Errorf("meanwhile: %s", got)
		}
	}
	abusers.Wait()
	harness.Eventually(t, 2*soon, "nothing is left", func() error { return grown(before, sizesOf(t, c, pids)) })
	log := string(harness.Must(os.ReadFile(files + "/audit.log"))(t))
	if strings.Contains(log, `"forged"`) || !strings.Contains(log, "outer=") {
		t.Errorf("somebody is who he says he is, or nobody came: %s", firstLines(log, 5))
	}
	for file, want := range map[string][]string{
		"supervisor.log": {"control socket"}, "etcd.log": {"rejected connection"},
		"core.log": {"hop", "handshake"}, "extensions.log": {"hop", "handshake"}, "aggregator.log": {"hop", "handshake"},
	} {
		content := string(harness.Must(os.ReadFile(c.Path("log", file)))(t))
		for _, listener := range want {
			if turned := fmt.Sprintf("\"Turned a peer away\" listener=%q", listener); !strings.Contains(content, turned) && !strings.Contains(content, listener+` on`) {
				t.Errorf("%s does not tell whom %s has turned away", file, listener)
			}
		}
		// A stranger costs no more than that. What who came in takes back costs upstream's lines for each, as in kube-apiserver.
		if n := strings.Count(content, "Turned a peer away"); n > 300 {
			t.Errorf("%s tells of %d strangers", file, n)
		}
	}
}

// idlers is how many connections are held at each door that say nothing or little.
const idlers = 50

// abuse comes to one door in every way there is.
func abuse(t *testing.T, d door) {
	held := hold(t, d)
	if d.peer != nil && !d.public {
		strangers(t, d)
	}
	if d.http1 {
		smuggle(t, d)
		oversize(t, d)
	}
	if d.http2 {
		rapidReset(t, d)
	}
	for _, conn := range held {
		if d.patience > 0 {
			_ = conn.SetReadDeadline(time.Now().Add(d.patience))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s waits longer than %v for who says nothing", d.name, d.patience)
			}
		}
		conn.Close()
	}
}

// hold opens connections that say nothing, begin a greeting, or, having come in, begin a request and go on by a byte now
// and then.
func hold(t *testing.T, d door) (held []net.Conn) {
	for i := range idlers {
		conn, err := d.dial(nil)
		if err != nil {
			t.Errorf("%s: %v", d.name, err)
			return held
		}
		held = append(held, conn)
		switch {
		case i%3 == 1 && d.peer != nil:
			_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01")
		case i%3 == 1:
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: loc")
		}
	}
	if d.http1 {
		conn, err := d.dial(http1Only(d.peer))
		if err != nil {
			t.Errorf("%s: %v", d.name, err)
			return held
		}
		held = append(held, conn)
		go func() {
			_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
			for drip := time.NewTicker(time.Second); err == nil; <-drip.C {
				_, err = io.WriteString(conn, "x")
			}
		}()
	}
	return held
}

func http1Only(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return config
}

// strangers come without a certificate, with one of their own making, with an old protocol and with none.
func strangers(t *testing.T, d door) {
	ca := harness.Must(harness.NewCA("triptych-internal"))(t)
	mine := harness.Must(ca.Issue(harness.Leaf{CommonName: "supervisor", URIs: []string{"triptych://supervisor/self"}, Usage: clientAuth}))(t)
	with := func(change func(*tls.Config)) *tls.Config {
		config := d.peer.Clone()
		config.GetClientCertificate = nil
		change(config)
		return config
	}
	for what, config := range map[string]*tls.Config{
		"no certificate": with(func(c *tls.Config) { c.Certificates = nil }),
		"one of another CA": with(func(c *tls.Config) {
			c.Certificates = nil
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { pair := mine.TLS(); return &pair, nil }
		}),
		"TLS 1.2":    with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
		"no TLS":     nil,
		"no TLS, h2": nil,
	} {
		conn, err := d.dial(config)
		if err != nil {
			continue // turned away in the handshake
		}
		if text := map[string]string{"no TLS": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no TLS, h2": http2.ClientPreface}[what]; config == nil {
			_, _ = io.WriteString(conn, text)
		} else {
			_, _ = io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		_ = conn.SetReadDeadline(time.Now().Add(soon))
		got, err := io.ReadAll(conn)
		conn.Close()
		// net/http tells who speaks HTTP to a port of TLS so, in plain text.
		if answered := len(got) > 0 && got[0] != 0x15 && !strings.HasPrefix(string(got), "HTTP/1.0 400 "); answered || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s with %s: %q %v", d.name, what, got, err)
		}
	}
}

// otherUsersStayOut tries the control socket as another user: kept out by its folder, by its mode, and when both are
// loosened by what the kernel says of who is there.
func otherUsersStayOut(t *testing.T, c *harness.Cluster) {
	t.Helper()
	ask := func() string {
		cmd := exec.CommandContext(t.Context(), harness.Bin("supervisor"), "stop", "--data-dir", c.Dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{}}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("another user stops it: %s", out)
		}
		return string(out)
	}
	socket := c.Path("run", "control.sock")
	if info := harness.Must(os.Stat(socket))(t); info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket is %v", info.Mode())
	}
	ask()
	for _, path := range []string{filepath.Dir(c.Dir), c.Dir, c.Path("run")} {
		info := harness.Must(os.Stat(path))(t)
		if err := os.Chmod(path, info.Mode().Perm()|0o755); err != nil {
			t.Fatal(err)
		}
	}
	if said := ask(); !strings.Contains(said, "the control socket is for root and the supervisor's own user") {
		t.Errorf("kept out by its mode: %s", said)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	ask()
}

// renegotiation asks for it where TLS 1.2 is spoken, which is the secure port; the others have turned that away.
func renegotiation(t *testing.T, doors map[string]door) {
	t.Helper()
	for _, d := range doors {
		if d.name != "secure port" {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		var out strings.Builder
		cmd := exec.CommandContext(ctx, harness.Must(exec.LookPath("openssl"))(t), "s_client", "-connect", d.address, "-tls1_2")
		cmd.Stdout, cmd.Stderr = &out, &out
		// It stays open: at its end s_client would leave by itself.
		stdin := harness.Must(cmd.StdinPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(stdin, "R\n")
		err := cmd.Wait()
		if err == nil || ctx.Err() != nil || !strings.Contains(out.String(), "RENEGOTIATING") || !strings.Contains(out.String(), "alert") {
			t.Errorf("renegotiation: %v: %s", err, out.String())
		}
	}
}
