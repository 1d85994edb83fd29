package hop

import (
	"bufio"
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzAnswer holds that an answer which we take is one to net/http too, and
// ends in the same place.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 304 \r\nEtag: \"x\"\r\nConnection: a, close\r\n\r\n",
		"HTTP/1.1 200\nA:b\n\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\nX-Y : z\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
		"HTTP/1.A 200 OK\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n",
	} {
		f.Add([]byte(s), "GET")
		f.Add([]byte(s), "HEAD")
	}
	f.Fuzz(func(t *testing.T, wire []byte, method string) {
		if method != "HEAD" {
			method = "GET"
		}
		ours := &conn{r: bufio.NewReader(bytes.NewReader(wire))}
		a, err := readAnswer(ours, method)
		if err != nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(wire))
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses what we take: %v", err)
		}
		if a.status != resp.StatusCode {
			t.Errorf("status %d, not %d", a.status, resp.StatusCode)
		}
		if ours.r.Buffered() != r.Buffered() {
			t.Errorf("the body begins %d bytes before the end, not %d", ours.r.Buffered(), r.Buffered())
		}
		sameBody(t, a, resp, method)
		for _, f := range a.fields {
			if f.name != "Trailer" && f.name != "Transfer-Encoding" && f.name != "Connection" && f.name != "Content-Length" &&
				!slices.Contains(resp.Header[f.name], f.value) {
				t.Errorf("%s: %q is not in %q", f.name, f.value, resp.Header[f.name])
			}
		}
	})
}

func sameBody(t *testing.T, a *answer, resp *http.Response, method string) {
	t.Helper()
	chunked := slices.Contains(resp.TransferEncoding, "chunked")
	bodyless := method == "HEAD" || a.status < 200 || a.status == 204 || a.status == 304
	switch {
	case bodyless:
		if a.length != 0 {
			t.Errorf("a body of %d where there is none", a.length)
		}
	case chunked != (a.length == unknownLength):
		t.Errorf("chunked is %v, not %v", a.length == unknownLength, chunked)
	case !chunked && a.length != resp.ContentLength && (a.length != untilClosed || resp.ContentLength != -1):
		t.Errorf("length %d, not %d", a.length, resp.ContentLength)
	}
	if resp.Close && !a.close && !bodyless {
		t.Error("the connection would be used again")
	}
}

// A line that does not fit into the reader's buffer is put together.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("v", 100_000)
	c := &conn{r: bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nA: " + long + "\r\nB: c\r\n\r\n"))}
	a, err := readAnswer(c, "GET")
	if err != nil || a.value("A") != long || a.value("B") != "c" {
		t.Errorf("%v", err)
	}
}
