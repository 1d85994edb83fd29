package hosts

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// pace is the time between two requests of one client.
const pace = 50 * time.Millisecond

// load is clients of hosts that read and write, each request once. What they were told is
// remembered.
type load struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu       sync.Mutex
	clients  []*client
	written  map[string][]string // acknowledged, by collection
	notFound []string
}

// client asks one thing of one host again and again.
type client struct {
	host, what string
	http       *http.Client
	url        string
	collection string // of what it writes; empty reads

	// answers in a row that were fine, and when the last was not; of load.mu.
	fine   int
	failed time.Time
	said   string
}

func newLoad(t *testing.T) *load {
	l := &load{written: map[string][]string{}}
	t.Cleanup(func() { l.stop() })
	return l
}

// start has clients beside the hosts call them: each reads what paths name and writes to collections.
func (l *load) start(t *testing.T, hosts []*host, paths, collections []string) {
	t.Helper()
	for _, h := range hosts {
		for _, path := range paths {
			l.add(t, h.Name, h.config(t), path, "")
		}
		for _, collection := range collections {
			l.add(t, h.Name, h.config(t), collection, collection)
		}
	}
}

// inside has a client on the host itself read: it sees what the host answers when nobody
// else can reach it.
func (l *load) inside(t *testing.T, h *host, path string) {
	t.Helper()
	c := h.config(t)
	c.Dial = h.Host.Dial
	l.add(t, "inside "+h.Name, c, path, "")
}

func (l *load) add(t *testing.T, name string, config *rest.Config, path, collection string) {
	t.Helper()
	c := &client{host: name, what: path, http: harness.Must(rest.HTTPClientFor(config))(t), url: config.Host + path, collection: collection}
	c.http.Timeout = 10 * time.Second
	ctx, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	n := len(l.clients)
	l.clients = append(l.clients, c)
	before := l.cancel
	l.cancel = func() {
		cancel()
		if before != nil {
			before()
		}
	}
	l.mu.Unlock()
	l.wait.Go(func() { l.run(ctx, c, fmt.Sprintf("by-%d", n)) })
}

func (l *load) run(ctx context.Context, c *client, prefix string) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		name := fmt.Sprintf("%s-%d", prefix, n)
		// Not by ctx: what is under way at the end is to be known of.
		r := c.request(name)
		answer, err := harness.Do(c.http, r)
		want := http.StatusOK
		if c.collection != "" {
			want = http.StatusCreated
		}
		l.note(c, name, answer, err, err == nil && answer.Code == want)
	}
}

// request is the client's next one; name is that of an object it creates.
func (c *client) request(name string) *http.Request {
	if c.collection == "" {
		r, _ := http.NewRequest(http.MethodGet, c.url, nil)
		return r
	}
	object := `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"}}`
	if c.collection == gadgets {
		object = `{"apiVersion": "` + group + `/v1", "kind": "Gadget", "metadata": {"name": "` + name + `"}}`
	}
	r, _ := http.NewRequest(http.MethodPost, c.url, strings.NewReader(object))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (l *load) note(c *client, name string, answer harness.Answer, err error, fine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && answer.Code == http.StatusNotFound {
		l.notFound = append(l.notFound, fmt.Sprintf("%s %s: %s", c.host, c.what, answer))
	}
	if !fine {
		c.fine, c.failed, c.said = 0, time.Now(), fmt.Sprintf("%s %v", answer, err)
		return
	}
	c.fine++
	if c.collection != "" {
		l.written[c.collection] = append(l.written[c.collection], name)
	}
}

// well waits until every client of the hosts had its last answers fine, and returns how
// long after since the last one was not. But is what is not expected to be.
func (l *load) well(t *testing.T, since time.Time, but string, hosts ...*host) (worst time.Duration) {
	t.Helper()
	of := func(c *client) bool {
		for _, h := range hosts {
			if c.host == h.Name && (but == "" || !strings.Contains(c.what, but)) {
				return true
			}
		}
		return false
	}
	start := map[*client]int{}
	harness.Eventually(t, 2*bound, "clients of live hosts are served", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.clients {
			if !of(c) {
				continue
			}
			// What was fine before does not count: the news may not be out.
			if _, seen := start[c]; !seen {
				start[c] = c.fine
			}
			if c.fine < start[c] {
				start[c] = 0
			}
			if c.fine < start[c]+20 || time.Since(since) < settle {
				return fmt.Errorf("%s %s: %d fine after %s", c.host, c.what, c.fine, c.said)
			}
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		if of(c) && c.failed.After(since) {
			worst = max(worst, c.failed.Sub(since))
		}
	}
	return worst
}

// settle is longer than anybody takes to notice that another went away without a word.
const settle = 20 * time.Second

// check fails the test if anybody was told that what exists does not.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.notFound) > 0 {
		t.Errorf("404 for what exists, %d times: %s", len(l.notFound), l.notFound[0])
	}
	l.notFound = nil
}

// stop ends the load, and returns what was acknowledged, by collection.
func (l *load) stop() map[string][]string {
	l.mu.Lock()
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	l.wait.Wait()
	return l.written
}

// kept checks that what was acknowledged is there, at every host.
func (s *scene) kept(l *load, hosts ...*host) {
	s.t.Helper()
	for collection, names := range l.stop() {
		for _, h := range hosts {
			there, lost := h.objects(s.t, collection), 0
			for _, name := range names {
				if !there[name] {
					lost++
				}
			}
			if lost > 0 {
				s.t.Errorf("%s: %d of %d acknowledged writes to %s are lost", h.Name, lost, len(names), collection)
			}
		}
		s.t.Logf("%d acknowledged writes to %s", len(names), collection)
	}
	l.check(s.t)
}
