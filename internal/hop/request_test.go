package hop

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// wireOf is what a request becomes on the wire.
func wireOf(t *testing.T, r *http.Request) (string, error) {
	t.Helper()
	h, err := newHead(r)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	h.write(w)
	w.Flush()
	return out.String(), nil
}

func incoming(method, target string, change func(*http.Request)) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Method, r.RequestURI, r.Body = method, target, http.NoBody
	if change != nil {
		change(r)
	}
	return r
}

func TestTargetIsCarriedByteForByte(t *testing.T) {
	for _, target := range []string{
		"/", "//", "//api//v1", "/api/v1/a%2Fb", "/api/../x/./y", "/a;b?c;d=e&f&g=&=h", "/?", "/?a=%zz", "/%E4%BD%A0", "/\xe4\xbd\xa0",
		"/a?b=c#d", "/a+b?c+d", "*", "/a?b=http://x/y?z",
	} {
		got, err := wireOf(t, incoming("GET", target, nil))
		if err != nil || !strings.HasPrefix(got, "GET "+target+" HTTP/1.1\r\n") {
			t.Errorf("%q became %q, %v", target, got, err)
		}
	}
}

func TestAbsoluteTargetIsCarriedAndOthersBecomeTheirPath(t *testing.T) {
	for raw, want := range map[string]string{
		"http://x/a%2Fb?c=&d": "http://x/a%2Fb?c=&d",
		"HTTPS://x:1":         "HTTPS://x:1",
		"http://x?a":          "http://x?a",
		"http:a?b":            "/?b",
		"":                    "/",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wireOf(t, incoming("GET", raw, func(r *http.Request) { r.URL = u }))
		if err != nil || !strings.HasPrefix(got, "GET "+want+" HTTP/1.1\r\n") {
			t.Errorf("%q became %q, %v", raw, got, err)
		}
	}
}

func TestHTTP2TargetWithSpaceStaysOneWord(t *testing.T) {
	got, err := wireOf(t, incoming("GET", "/a HTTP/1.1", nil))
	if err != nil || !strings.HasPrefix(got, "GET /a%20HTTP/1.1 HTTP/1.1\r\n") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRefusesWhatCouldBecomeTwoRequests(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"CRLF in method":      func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"empty method":        func(r *http.Request) { r.Method = "" },
		"CRLF in target":      func(r *http.Request) { r.RequestURI = "/ HTTP/1.1\r\nX: y\r\n\r\nGET /" },
		"LF in target":        func(r *http.Request) { r.RequestURI = "/\n" },
		"NUL in target":       func(r *http.Request) { r.RequestURI = "/\x00" },
		"DEL in target":       func(r *http.Request) { r.RequestURI = "/\x7f" },
		"CRLF in query":       func(r *http.Request) { r.RequestURI = ""; r.URL.RawQuery = "a\r\nb" },
		"CRLF in host":        func(r *http.Request) { r.Host = "x\r\nX: y" },
		"CRLF in value":       func(r *http.Request) { r.Header["X"] = []string{"a\r\nB: c"} },
		"LF in value":         func(r *http.Request) { r.Header["X"] = []string{"a\nB: c"} },
		"CR in value":         func(r *http.Request) { r.Header["X"] = []string{"a\rb"} },
		"NUL in value":        func(r *http.Request) { r.Header["X"] = []string{"a\x00b"} },
		"CRLF in name":        func(r *http.Request) { r.Header["X: y\r\nZ"] = []string{"a"} },
		"space in name":       func(r *http.Request) { r.Header["Transfer-Encoding "] = []string{"chunked"} },
		"empty name":          func(r *http.Request) { r.Header[""] = []string{"a"} },
		"pseudo header":       func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} },
		"uncanonical framing": func(r *http.Request) { r.Header["content-length"] = []string{"5"} },
		"CRLF in upgrade":     func(r *http.Request) { r.Header["Upgrade"] = []string{"a\r\nb"} },
		"CRLF in connection":  func(r *http.Request) { r.Header["Connection"] = []string{"a\r\nb"} },
		"two lengths":         func(r *http.Request) { r.ContentLength = 5; r.Header["Content-Length"] = []string{"5", "5"} },
		"length list":         func(r *http.Request) { r.ContentLength = 5; r.Header["Content-Length"] = []string{"5, 5"} },
		"other length":        func(r *http.Request) { r.ContentLength = 5; r.Header["Content-Length"] = []string{"6"} },
		"signed length":       func(r *http.Request) { r.ContentLength = 5; r.Header["Content-Length"] = []string{"+5"} },
		"length and chunked":  func(r *http.Request) { r.ContentLength = -1; r.Header["Content-Length"] = []string{"5"} },
		"length and encoding": func(r *http.Request) {
			r.TransferEncoding = []string{"chunked"}
			r.Header["Content-Length"] = []string{"0"}
		},
		"length, encoding as text": func(r *http.Request) {
			r.Header["Transfer-Encoding"] = []string{"x"}
			r.Header["Content-Length"] = []string{"0"}
		},
	} {
		if got, err := wireOf(t, incoming("GET", "/", change)); err == nil {
			t.Errorf("%s: let through as %q", name, got)
		}
	}
}

func TestFramingIsOurOwn(t *testing.T) {
	withBody := func(n int64) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), n
			r.Header["Transfer-Encoding"] = []string{"gzip, chunked"}
		}
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"none":    {nil, ""},
		"sized":   {withBody(5), "Content-Length: 5\r\n"},
		"chunked": {withBody(-1), "Transfer-Encoding: chunked\r\n"},
		"zero":    {func(r *http.Request) { r.Header["Content-Length"] = []string{"0"} }, "Content-Length: 0\r\n"},
		"trailers": {func(r *http.Request) {
			withBody(5)(r)
			r.Trailer = http.Header{"B": nil, "A": nil, "Content-Length": nil}
		}, "Transfer-Encoding: chunked\r\nTrailer: A, B\r\n"},
	} {
		want := "POST / HTTP/1.1\r\nHost: example.com\r\n" + c.want + "\r\n"
		if got, err := wireOf(t, incoming("POST", "/", c.change)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestConnectionHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		proto  int
		want   string
	}{
		"own options go": {http.Header{"Connection": {"close, keep-alive, TE"}, "Keep-Alive": {"5"}, "Proxy-Connection": {"x"}}, 1, ""},
		"upgrade":        {http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"SPDY/3.1"}}, 1, "Connection: keep-alive, Upgrade\r\nUpgrade: SPDY/3.1\r\n"},
		"upgrade and more": {http.Header{"Connection": {"X-A", "upgrade"}, "Upgrade": {"a", "b"}, "Keep-Alive": {"5"}, "X-A": {"1"}}, 1,
			"X-A: 1\r\nConnection: X-A\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\nKeep-Alive: 5\r\n"},
		"upgrade unannounced":  {http.Header{"Upgrade": {"SPDY/3.1"}}, 1, ""},
		"upgrade without name": {http.Header{"Connection": {"Upgrade"}}, 1, ""},
		"upgrade over HTTP/2":  {http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, 2, ""},
		"trailers wanted":      {http.Header{"Te": {"gzip, trailers"}}, 1, "Te: trailers\r\n"},
		"other te":             {http.Header{"Te": {"gzip"}}, 1, ""},
		"a client cannot make headers disappear": {http.Header{"Connection": {"X-Forwarded-For"}, "X-Forwarded-For": {"1.2.3.4"}}, 1,
			"X-Forwarded-For: 1.2.3.4\r\nConnection: X-Forwarded-For\r\n"},
	} {
		got, err := wireOf(t, incoming("GET", "/", func(r *http.Request) { r.Header = c.header; r.ProtoMajor = c.proto }))
		want := "GET / HTTP/1.1\r\nHost: example.com\r\n" + c.want + "\r\n"
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// FuzzHead holds that whatever gets through is one request to net/http, and the
// same one.
func FuzzHead(f *testing.F) {
	f.Add("GET", "/a%2Fb?c=&d", "h:1", "X-A", "b", int64(0))
	f.Add("POST", "/ HTTP/1.1\r\n\r\nGET /", "h", "Transfer-Encoding", "chunked", int64(3))
	f.Add("PUT", "//x", "", "Content-Length", "3", int64(3))
	f.Add("CONNECT", "h:1", "h:1", "Connection", "upgrade, x", int64(0))
	f.Add("GET", "/", "h", "A\r\nB", "\x00", int64(-1))
	f.Fuzz(func(t *testing.T, method, target, host, key, value string, length int64) {
		r := incoming(method, target, func(r *http.Request) {
			r.Host, r.Header = host, http.Header{key: {value}}
			if length != 0 {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader("")), max(length, -1)
			}
		})
		out, err := wireOf(t, r)
		if err != nil {
			return
		}
		if n := strings.Count(out, "\r\n\r\n"); n != 1 || !strings.HasSuffix(out, "\r\n\r\n") {
			t.Fatalf("the head ends %d times: %q", n, out)
		}
		got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(out)))
		if err != nil {
			return // refused by the delegate, which is as good
		}
		if got.Method != method || got.ContentLength != max(length, -1) && got.ContentLength != 0 {
			t.Fatalf("%q became %s with length %d", out, got.Method, got.ContentLength)
		}
		if !perConnection(http.CanonicalHeaderKey(key)) && got.Header.Get(key) != strings.Trim(value, " \t") {
			t.Fatalf("%q lost %s: %q", out, key, got.Header)
		}
	})
}
