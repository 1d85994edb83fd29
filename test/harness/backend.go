package harness

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Backend is an aggregated API server of the test. It serves one resource, says
// little, and keeps every byte that it is sent.
type Backend struct {
	Port int
	// CA signed its certificate.
	CA *Pair

	group    string
	mu       sync.Mutex
	received []string
}

// StartBackend starts a server of group/v1, for which the head believes to call
// service.namespace.svc. protocols are what it offers: "http/1.1" or "h2".
func StartBackend(t testing.TB, group, namespace, service, protocol string) *Backend {
	t.Helper()
	b := &Backend{CA: Must(NewCA("backend-ca"))(t), group: group}
	host := service + "." + namespace + ".svc"
	pair := Must(b.CA.Issue(Leaf{CommonName: host, Hosts: []string{host}, Usage: serverUsage}))(t)
	config := &tls.Config{
		Certificates: []tls.Certificate{pair.TLS()}, NextProtos: []string{protocol}, ClientAuth: tls.RequestClientCert,
		MinVersion: tls.VersionTLS12,
	}
	l := Must(net.Listen("tcp", "127.0.0.1:0"))(t)
	b.Port = l.Addr().(*net.TCPAddr).Port
	if protocol == "h2" {
		server := &http.Server{Handler: http.HandlerFunc(b.serveHTTP), TLSConfig: config}
		go server.ServeTLS(l, "", "")
		t.Cleanup(func() { server.Close() })
		return b
	}
	secure := tls.NewListener(l, config)
	t.Cleanup(func() { secure.Close() })
	go func() {
		for {
			conn, err := secure.Accept()
			if err != nil {
				return
			}
			go b.serveRaw(conn.(*tls.Conn))
		}
	}()
	return b
}

// Received returns what arrived so far but for requests of the head itself, each
// request as it came over the wire, after the name in the client's certificate.
func (b *Backend) Received() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.received)
}

func (b *Backend) keep(state *tls.ConnectionState, request string) {
	who := "nobody"
	if len(state.PeerCertificates) > 0 {
		who = state.PeerCertificates[0].Subject.String()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received = append(b.received, who+"\n"+request)
}

// ofHead tells the requests that the head makes by itself, at times of its own.
func (b *Backend) ofHead(path string) bool {
	return path == "/apis" || path == "/apis/"+b.group+"/v1" || strings.HasPrefix(path, "/openapi/")
}

// answer is the status, the type and the body for a path.
func (b *Backend) answer(path string) (code int, header http.Header, body string) {
	header = http.Header{"Content-Type": {"application/json"}}
	switch {
	case path == "/apis/"+b.group+"/v1":
		return http.StatusOK, header, fmt.Sprintf(`{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"%s/v1","resources":[`+
			`{"name":"things","singularName":"thing","namespaced":true,"kind":"Thing","verbs":["create","get","list","delete"]}]}`, b.group)
	case b.ofHead(path):
		return http.StatusNotFound, header, `{}`
	case strings.HasSuffix(path, "/redirect"):
		header.Set("Location", "https://127.0.0.1:1/elsewhere")
		return http.StatusFound, header, `{"moved":true}`
	case strings.HasSuffix(path, "/teapot"):
		header.Set("X-Backend", "a, b")
		header["Warning"] = []string{`299 - "one"`, `299 - "two"`}
		return http.StatusTeapot, header, `{"teapot":true}`
	}
	return http.StatusOK, header, `{"kind":"Thing","apiVersion":"` + b.group + `/v1"}`
}

// serveHTTP is for HTTP/2, where only the decoded request can be kept.
func (b *Backend) serveHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if !b.ofHead(r.URL.Path) {
		said := &bytes.Buffer{}
		fmt.Fprintf(said, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
		r.Header.Write(said)
		fmt.Fprintf(said, "length %d, trailer %v\n%s", r.ContentLength, r.Trailer, body)
		b.keep(r.TLS, said.String())
	}
	code, header, content := b.answer(r.URL.Path)
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(code)
	io.WriteString(w, content)
}

// serveRaw answers one request of a connection. One that asks for another
// protocol gets it, and then hears its own bytes.
func (b *Backend) serveRaw(conn *tls.Conn) {
	defer conn.Close()
	raw := &bytes.Buffer{}
	in := bufio.NewReader(io.TeeReader(conn, raw))
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	io.Copy(io.Discard, r.Body)
	path := r.URL.Path
	if !b.ofHead(path) {
		state := conn.ConnectionState()
		b.keep(&state, raw.String())
	}
	if protocol := r.Header.Get("Upgrade"); protocol != "" && !strings.HasSuffix(path, "/teapot") {
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Backend: upgraded\r\n\r\n", protocol)
		io.Copy(conn, in)
		return
	}
	code, header, body := b.answer(path)
	fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %d\r\n", code, http.StatusText(code), len(body))
	header.Write(conn)
	fmt.Fprintf(conn, "\r\n%s", body)
}

// Base64 is the encoding of bytes in manifests.
func Base64(content []byte) string { return base64.StdEncoding.EncodeToString(content) }
