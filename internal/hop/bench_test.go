package hop

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The benchmarks call the client end's handler directly, so that what they
// report is the hop: the forwarder, two TLS stacks, and the server with the
// delegate's handler. cpu-us/op is the CPU of the whole process per
// request, from getrusage.
//
//	go test -run '^$' -bench . -benchtime 3s ./internal/hop

func BenchmarkGet(b *testing.B)   { compare(b, http.MethodGet, 0, 1200) }
func BenchmarkPatch(b *testing.B) { compare(b, http.MethodPatch, 1200, 1200) }
func BenchmarkList(b *testing.B)  { compare(b, http.MethodGet, 0, 500_000) }

func compare(b *testing.B, method string, sent, answered int) {
	ca := newAuthority(b)
	body := bytes.Repeat([]byte("x"), answered)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		h := w.Header()
		h.Set("Audit-Id", "6d0ad2b4-50c7-4c52-a1a5-4d2a3f4f6a0e")
		h.Set("Cache-Control", "no-cache, private")
		h.Set("Content-Type", "application/json")
		h.Set("X-Kubernetes-Pf-Flowschema-Uid", "d2b1f0ae-9d3c-4a83-8e0a-0a0f6d1a2c11")
		h.Set("X-Kubernetes-Pf-Prioritylevel-Uid", "3a1c9c55-1c0f-4f0b-b7a4-7e0a5ad6f7f2")
		for item := range slices.Chunk(body, 1200) { // as serializers write LISTs
			w.Write(item)
		}
	})
	d := startDelegate(b, ca, handler)
	requests := func() *http.Request { return benchRequest(method, sent) }
	b.Run("Call", func(b *testing.B) { drive(b, handler, requests, answered) })
	b.Run("Forwarder", func(b *testing.B) {
		drive(b, newTestForwarder(b, ca, d.address, nil), requests, answered)
	})
	b.Run("ReverseProxy", func(b *testing.B) {
		drive(b, reverseProxy(b, ca, d.address), requests, answered)
	})
}

func benchRequest(method string, size int) *http.Request {
	target := "/api/v1/namespaces/default/configmaps/example?resourceVersion=0"
	r := must(http.NewRequest(method, "https://127.0.0.1"+target, http.NoBody))
	r.RequestURI = target
	r.Header = http.Header{
		"Accept":              {"application/vnd.kubernetes.protobuf,application/json"},
		"Accept-Encoding":     {"gzip"},
		"Audit-Id":            {"6d0ad2b4-50c7-4c52-a1a5-4d2a3f4f6a0e"},
		"User-Agent":          {"kube-controller-manager/v1.37.2 (linux/amd64) kubernetes/0123456/shared-informers"},
		"X-Triptych-Identity": {string(bytes.Repeat([]byte("A"), 120))},
	}
	if size > 0 {
		r.Body = io.NopCloser(bytes.NewReader(bytes.Repeat([]byte("x"), size)))
		r.ContentLength = int64(size)
		r.Header["Content-Length"] = []string{strconv.Itoa(size)}
	}
	return r
}

func reverseProxy(b *testing.B, ca *authority, address string) http.Handler {
	t := &http.Transport{
		TLSClientConfig: ca.clientTLS(), MaxIdleConnsPerHost: 100, DisableCompression: true,
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	b.Cleanup(t.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Transport: t, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: address}) },
	}
}

// drive calls h from 1 and from 16 goroutines.
func drive(b *testing.B, h http.Handler, request func() *http.Request, want int) {
	for _, clients := range []int{1, 16} {
		b.Run(strconv.Itoa(clients), func(b *testing.B) {
			b.ReportAllocs()
			start := cpu()
			b.ResetTimer()
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					for n := i; n < b.N; n += clients {
						w := &sink{header: http.Header{}}
						ctx, cancel := context.WithCancel(context.Background())
						h.ServeHTTP(w, request().WithContext(ctx))
						cancel()
						if w.n != want {
							b.Errorf("got %d bytes", w.n)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// sink is an http.ResponseWriter that counts.
type sink struct {
	header http.Header
	n      int
}

func (s *sink) Header() http.Header              { return s.header }
func (s *sink) WriteHeader(int)                  {}
func (s *sink) Flush()                           {}
func (s *sink) EnableFullDuplex() error          { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }
func (s *sink) Write(p []byte) (int, error)      { s.n += len(p); return len(p), nil }
