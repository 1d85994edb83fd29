package harness

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// Load is a stream of GET requests by several clients, none of which is ever
// repeated.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu       sync.Mutex
	answers  map[int]int
	failures []string
}

// Report counts what a Load saw.
type Report struct {
	// Codes counts the answers by status.
	Codes map[int]int
	// Failures are requests without an answer, and answers that were not
	// expected, each a line.
	Failures []string
}

// OK is the number of requests answered 200.
func (r Report) OK() int { return r.Codes[http.StatusOK] }

// StartLoad begins to GET the paths in turn, by that many clients, until Stop.
func StartLoad(config *rest.Config, clients int, paths []string, fine Expectation) (*Load, error) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, answers: map[int]int{}}
	for range clients {
		// Each its own connection: client-go shares one among equal
		// configurations unless they bring a dialer.
		own := rest.CopyConfig(config)
		if own.Dial == nil {
			own.Dial = (&net.Dialer{}).DialContext
		}
		client, err := rest.HTTPClientFor(own)
		if err != nil {
			cancel()
			return nil, err
		}
		l.done.Go(func() { l.run(ctx, client, strings.TrimSuffix(config.Host, "/"), paths, fine) })
	}
	return l, nil
}

// MustLoad is StartLoad that fails the test, and stops with it.
func MustLoad(t testing.TB, config *rest.Config, clients int, paths []string, fine Expectation) *Load {
	t.Helper()
	l := Must(StartLoad(config, clients, paths, fine))(t)
	t.Cleanup(func() { l.Stop() })
	return l
}

// Expectation tells whether what a request came to is fine. err is set if there
// was no answer, or not all of it.
type Expectation func(answer Answer, err error) bool

// IsOK expects 200 of every answer.
func IsOK(answer Answer, err error) bool { return err == nil && answer.Code == http.StatusOK }

func (l *Load) run(ctx context.Context, client *http.Client, host string, paths []string, fine Expectation) {
	defer utilnet.CloseIdleConnectionsFor(client.Transport) // client-go hides them from client
	for i := 0; ctx.Err() == nil; i++ {
		path := paths[i%len(paths)]
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+path, nil)
		if err != nil {
			panic(err)
		}
		answer, err := Do(client, req)
		if ctx.Err() != nil {
			return
		}
		l.record(path, answer, err, fine(answer, err))
	}
}

func (l *Load) record(path string, answer Answer, err error, fine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.answers[answer.Code]++
	}
	if !fine {
		l.failures = append(l.failures, fmt.Sprintf("GET %s: %s %v", path, answer, err))
	}
}

// Answered returns how many requests were answered so far.
func (l *Load) Answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, count := range l.answers {
		n += count
	}
	return n
}

// Stop ends the load and tells what it saw. It may be called twice.
func (l *Load) Stop() Report {
	l.cancel()
	l.done.Wait()
	return Report{Codes: l.answers, Failures: l.failures}
}
