package hop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/metrics/legacyregistry"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// series returns the hop's metrics of one delegate that are not zero, by name and label.
func series(t *testing.T, delegate tier.Name) []string {
	t.Helper()
	found := map[string]float64{}
	for _, family := range must(legacyregistry.DefaultGatherer.Gather()) {
		short, ours := strings.CutPrefix(family.GetName(), "triptych_hop_")
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if n := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()); ours && n != 0 && labels["delegate"] == string(delegate) {
				delete(labels, "delegate")
				found[fmt.Sprint(short, slices.Collect(maps.Values(labels)))] = n
			}
		}
	}
	var all []string
	for name, n := range found {
		all = append(all, fmt.Sprint(name, " ", n))
	}
	slices.Sort(all)
	return all
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// Each request is one measurement, and one error unless it was answered.
func TestWhatBecomesOfARequestIsMeasured(t *testing.T) {
	says := func(text string) func(*tls.Conn, int) {
		return func(c *tls.Conn, _ int) { readRequest(t, bufio.NewReader(c)); io.WriteString(c, text) }
	}
	for name, c := range map[string]struct {
		method string
		script func(*tls.Conn, int)
		change func(*ForwarderConfig)
		want   []string
	}{
		"answered": {"GET", func(c *tls.Conn, _ int) { says(fine)(c, 0); io.Copy(io.Discard, c) }, nil,
			[]string{"connections[idle] 1", "request_duration_seconds[answered] 1"}},
		"away": {"GET", says(fine), func(c *ForwarderConfig) { c.Available = func() error { return errors.New("gone") } },
			[]string{"errors_total[away] 1", "request_duration_seconds[unavailable] 1"}},
		"nobody listens": {"GET", says(fine), func(c *ForwarderConfig) { c.Address = "127.0.0.1:1" },
			[]string{"errors_total[connect] 1", "request_duration_seconds[unavailable] 1"}},
		"a write is lost": {"POST", says(""), nil, []string{"errors_total[lost] 1", "request_duration_seconds[broken] 1"}},
		"a read is lost twice": {"GET", says(""), nil,
			[]string{"errors_total[lost] 1", "request_duration_seconds[unavailable] 1", "retries_total[] 1"}},
		"a read is lost once": {"GET", func(c *tls.Conn, n int) {
			if says([]string{"", fine}[n-1])(c, n); n == 2 {
				io.Copy(io.Discard, c)
			}
		}, nil, []string{"connections[idle] 1", "request_duration_seconds[answered] 1", "retries_total[] 1"}},
		"an answer is cut": {"GET", says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), nil,
			[]string{"errors_total[cut] 1", "request_duration_seconds[answered] 1"}},
		"too slow": {"GET", func(c *tls.Conn, _ int) { io.Copy(io.Discard, c) }, func(c *ForwarderConfig) { c.Timeout = time.Millisecond * 200 },
			[]string{"errors_total[timeout] 1", "request_duration_seconds[expired] 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			delegate := tier.Name("measured " + name)
			s := startScripted(t, c.script)
			f := newTestForwarder(t, s.ca, s.address, func(config *ForwarderConfig) {
				config.Delegate = delegate
				if c.change != nil {
					c.change(config)
				}
			})
			func() {
				defer func() { _ = recover() }() // as net/http would
				f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(c.method, "/", http.NoBody))
			}()
			if got := series(t, delegate); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			f.Close()
		})
	}
}

// A request that is under way shows, and so does its connection.
func TestRequestsUnderWayShow(t *testing.T) {
	const delegate = tier.Name("under way")
	reached, answer := make(chan struct{}), make(chan struct{})
	s := startScripted(t, func(c *tls.Conn, _ int) {
		readRequest(t, bufio.NewReader(c))
		close(reached)
		<-answer
		io.WriteString(c, fine)
	})
	f := newTestForwarder(t, s.ca, s.address, func(config *ForwarderConfig) { config.Delegate = delegate })
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	}()
	<-reached
	if got, want := series(t, delegate), []string{"connections[busy] 1", "requests_in_flight[] 1"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	close(answer)
	<-done
	f.Close()
	if got, want := series(t, delegate), []string{"request_duration_seconds[answered] 1"}; !slices.Equal(got, want) {
		t.Errorf("afterwards %q, want %q", got, want)
	}
}

// Who does not say when it received a request is not measured, and clocks that
// disagree make no negative time.
func TestTheWayIsMeasuredOnlyWhereItsBeginningIsKnown(t *testing.T) {
	register()
	from := identity.Peer{Name: "far away"}
	for _, received := range []time.Time{{}, time.Now().Add(-time.Second), time.Now().Add(time.Hour)} {
		Arrived(from, received)
	}
	for _, family := range must(legacyregistry.DefaultGatherer.Gather()) {
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); family.GetName() == "triptych_hop_transit_duration_seconds" && m.GetLabel()[0].GetValue() == "far away" &&
				(h.GetSampleCount() != 2 || h.GetSampleSum() < 1 || h.GetSampleSum() > 2) {
				t.Errorf("%d took %f", h.GetSampleCount(), h.GetSampleSum())
			}
		}
	}
}
