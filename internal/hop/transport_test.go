package hop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

// transportRequest is how many bytes a request has, head and all.
const transportClients, transportRequest = 16, 600

// BenchmarkTransport tells what a hop could save by another way from process to process:
// loopback TCP with TLS, as it is, against a unix socket with TLS and without. It counts
// the CPU of both ends of a bare exchange, without HTTP; the whole of a request, which it
// is a part of, is what `make bench` prints.
func BenchmarkTransport(b *testing.B) {
	ca := newAuthority(b)
	for _, size := range []int{1200, 500_000} {
		for _, way := range []struct {
			name, network string
			secure        bool
		}{{"TCP,TLS", "tcp", true}, {"unix,TLS", "unix", true}, {"unix", "unix", false}} {
			b.Run(fmt.Sprintf("%s/%dB", way.name, size), func(b *testing.B) {
				address := "127.0.0.1:0"
				if way.network == "unix" {
					address = filepath.Join(b.TempDir(), "s")
				}
				l := must(net.Listen(way.network, address))
				var server, all sync.WaitGroup
				server.Go(func() { exchangeAt(l, serverTLSOf(ca, way.secure), size) })
				start := cpu()
				b.ResetTimer()
				for i := range transportClients {
					all.Go(func() {
						c := must(net.Dial(way.network, l.Addr().String()))
						defer c.Close()
						if way.secure {
							config := ca.clientTLS()
							config.DynamicRecordSizingDisabled = true
							c = tls.Client(c, config)
						}
						r, request, answer := bufio.NewReaderSize(c, 32<<10), make([]byte, transportRequest), make([]byte, size)
						for n := i; n < b.N; n += transportClients {
							if _, err := c.Write(request); err != nil {
								b.Error(err)
								return
							}
							if _, err := io.ReadFull(r, answer); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-us/op")
				l.Close()
				server.Wait()
			})
		}
	}
}

func serverTLSOf(ca *authority, secure bool) *tls.Config {
	if !secure {
		return nil
	}
	return &tls.Config{Certificates: []tls.Certificate{ca.serving(tier.Core)}, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS13}
}

// exchangeAt answers every request with size bytes, until the listener is closed and all
// clients are gone.
func exchangeAt(l net.Listener, config *tls.Config, size int) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			defer c.Close()
			if config != nil {
				c = tls.Server(c, config)
			}
			r, request, answer := bufio.NewReader(c), make([]byte, transportRequest), make([]byte, size)
			for {
				if _, err := io.ReadFull(r, request); err != nil {
					return
				}
				if _, err := c.Write(answer); err != nil {
					return
				}
			}
		})
	}
}
