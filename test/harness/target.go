package harness

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Target is where pods/proxy and services/proxy lead to: a server that keeps
// every byte that it is sent, and that answers as the path asks it to.
type Target struct {
	Host string
	// Port is that of plain HTTP, SecurePort that of HTTPS.
	Port, SecurePort int

	mu       sync.Mutex
	received []string
}

// StartTarget starts one for the test, on an address of this machine: core
// proxies to none on loopback.
func StartTarget(t testing.TB, host string) *Target {
	t.Helper()
	s := &Target{Host: host}
	ca := Must(NewCA("target-ca"))(t)
	serving := Must(ca.Issue(Leaf{CommonName: "target", Hosts: []string{host}, Usage: serverUsage}))(t)
	plain := Must(net.Listen("tcp", net.JoinHostPort(host, "0")))(t)
	secure := Must(tls.Listen("tcp", net.JoinHostPort(host, "0"), &tls.Config{Certificates: []tls.Certificate{serving.TLS()}}))(t)
	s.Port, s.SecurePort = plain.Addr().(*net.TCPAddr).Port, secure.Addr().(*net.TCPAddr).Port
	for _, l := range []net.Listener{plain, secure} {
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go s.serve(conn)
			}
		}()
	}
	return s
}

// Received returns what arrived so far, each request as it came over the wire,
// and forgets it.
func (s *Target) Received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.received)
	s.received = nil
	return all
}

// serve answers one request of a connection.
func (s *Target) serve(conn net.Conn) {
	defer conn.Close()
	raw := &bytes.Buffer{}
	in := bufio.NewReader(io.TeeReader(conn, raw))
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	_, err = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.received = append(s.received, raw.String())
	s.mu.Unlock()
	if err != nil {
		return
	}
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if name == "upgrade" {
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+
			"\r\nX-Target: one\r\nX-Target: two\r\nSec-WebSocket-Protocol: "+r.Header.Get("Sec-Websocket-Protocol")+"\r\n\r\nfirst")
		io.Copy(conn, in)
		return
	}
	said, ok := TargetAnswers[name]
	if !ok {
		said = sized(200, "X-Target: here\r\nContent-Type: text/plain\r\n", "plain")
	}
	io.WriteString(conn, said)
}

// TargetAnswers are what a Target says, by the last segment of the path.
var TargetAnswers = map[string]string{
	"teapot":    sized(418, "Content-Type: application/x-tea\r\nX-Target: a, b\r\nX-Target: c\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nVary: Cookie\r\nx-odd_name: kept\r\n", "tea\x00\xff"),
	"empty":     "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
	"same":      "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"x\"\r\n\r\n",
	"untyped":   sized(200, "", "<html>guess"),
	"chunked":   "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: there\r\n\r\n",
	"unbounded": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: a/b\r\n\r\nuntil the end",
	"cut":       "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\nnot all",
	"nothing":   "",
	"garbage":   "SSH-2.0-none\r\n",
	"hints":     "HTTP/1.1 103 Early Hints\r\nLink: </style>\r\n\r\n" + sized(200, "", "hinted"),
	"moved":     sized(301, "Location: /elsewhere?x=%2F#there\r\n", ""),
	"away":      sized(302, "Location: http://example.com/elsewhere\r\n", ""),
	"page":      sized(200, "Content-Type: text/html; charset=utf-8\r\n", page),
	"zipped":    sized(200, "Content-Type: text/html\r\nContent-Encoding: gzip\r\n", zipped(page)),
	"hop":       sized(200, "Connection: X-Hop\r\nX-Hop: gone\r\nKeep-Alive: timeout=1\r\nUpgrade: h2c\r\n", "hop"),
	"own":       sized(200, "Audit-Id: forged\r\nWarning: 299 - \"target\"\r\nCache-Control: max-age=7\r\nStrict-Transport-Security: max-age=1\r\nX-Kubernetes-Pf-Flowschema-Uid: forged\r\n", "own"),
	"failed":    sized(503, "Retry-After: 7\r\nContent-Type: application/json\r\n", `{"kind":"Status"}`),
	"large":     sized(200, "Content-Type: application/octet-stream\r\n", strings.Repeat("0123456789abcdef", 1<<18)),
}

// page has links, which core rewrites.
const page = `<html><body><a href="/a?b=c">a</a><a href="relative">b</a><img src="http://example.com/x"><form action="/a%2Fb"></form></body></html>`

func sized(code int, headers, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", code, http.StatusText(code), len(body), headers, body)
}

func zipped(text string) string {
	out := &bytes.Buffer{}
	w := gzip.NewWriter(out)
	io.WriteString(w, text)
	w.Close()
	return out.String()
}
