package hop

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// unread answers in each of the ways in which a handler can leave a body.
func unread(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Peer", r.RemoteAddr)
	switch r.URL.Path {
	case "/some":
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
	case "/closed":
		_ = r.Body.Close()
	case "/all":
		_, _ = io.Copy(io.Discard, r.Body)
	case "/flushed":
		w.WriteHeader(http.StatusForbidden)
		_ = http.NewResponseController(w).Flush()
	case "/silent":
		return
	case "/large":
		_, _ = io.WriteString(w, strings.Repeat("x", 2*maxWhole))
		return
	case "/sized":
		w.Header().Set("Content-Length", "3")
	}
	w.WriteHeader(http.StatusForbidden)
	w.Header().Set("X-Late", "nobody is told")
	_, _ = io.WriteString(w, "no!")
}

// A delegate that refuses what it has not read keeps the connection, or says
// that it does not: else the next write would be lost in it.
func TestNoWriteIsLostBehindAnUnreadBody(t *testing.T) {
	paths := []string{"/", "/some", "/all", "/closed", "/flushed", "/silent", "/large", "/sized"}
	eachProtocol(t, unread, func(t *testing.T, f *front, c *http.Client) {
		for i := range 1000 {
			size := 1 + i*131%9000
			if i%100 == 0 {
				size = maxReusedBody + i%3
			}
			refused(t, f, c, paths[i%len(paths)], size, i%3 == 0)
		}
	})
}

// A flood of refusals must not cost a handshake each.
func TestUnreadBodiesKeepTheConnection(t *testing.T) {
	paths := []string{"/", "/some", "/all", "/closed", "/silent", "/sized"}
	eachProtocol(t, unread, func(t *testing.T, f *front, c *http.Client) {
		peers := map[string]bool{}
		for i := range 500 {
			peers[refused(t, f, c, paths[i%len(paths)], 1+i, false)] = true
		}
		// If an answer comes before the body is on its way, the connection is lost.
		if len(peers) > 50 {
			t.Errorf("%d connections", len(peers))
		}
	})
}

// refused sends one POST and returns the connection it went over, once that is
// idle again or closed.
func refused(t *testing.T, f *front, c *http.Client, path string, size int, chunked bool) string {
	t.Helper()
	body := io.Reader(strings.NewReader(strings.Repeat("x", size)))
	if chunked {
		body = io.MultiReader(body)
	}
	resp, err := c.Post(f.URL+path, "", body)
	if err != nil {
		t.Fatalf("%s with %d bytes is broken: %v", path, size, err)
	}
	readAll(t, resp.Body)
	pool := f.forwarder.pool
	eventually(t, "the connection is released", func() bool { return pool.idleCount() == pool.size() })
	return resp.Header.Get("X-Peer")
}

// Flushing an answer ahead of what is left to read must not show.
func TestAnswersToUnreadBodiesAreFramedAsUsual(t *testing.T) {
	direct := startFront(t, http.HandlerFunc(unread))
	through := startChain(t, unread)
	for _, method := range []string{http.MethodPost, http.MethodHead} {
		for _, path := range []string{"/", "/some", "/silent", "/large", "/sized", "/flushed", "/all"} {
			answers := map[string]string{}
			for where, url := range map[string]string{"direct": direct.URL, "through": through.URL} {
				server := direct
				if where == "through" {
					server = through.Server
				}
				req := must(http.NewRequest(method, url+path, strings.NewReader("body")))
				resp, err := clientOf(server, false).Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body := readAll(t, resp.Body)
				answers[where] = fmt.Sprint(resp.Status, resp.Header["Content-Length"], resp.TransferEncoding, resp.Header["X-Late"],
					resp.Header["Content-Type"], resp.Header["Connection"], strconv.Quote(body))
			}
			if answers["direct"] != answers["through"] {
				t.Errorf("%s %s: %s\nwithout a hop: %s", method, path, answers["through"], answers["direct"])
			}
		}
	}
}
