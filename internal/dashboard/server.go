package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/supervisor/vitals"
)

const (
	// fresh is for how long a sample is shown to whoever asks, patience how long the supervisor may take for one before
	// it is said to be away: it has as much to do as the machine. Less than WriteTimeout.
	fresh    = time.Second
	patience = 15 * time.Second
	// steady is for how long what seldom changes is shown.
	steady = 30 * time.Second
	// connections bounds how many there are at once.
	connections = 64
)

//go:embed assets
var assets embed.FS

// Options of a dashboard.
type Options struct {
	Dir datadir.Dir
	// Listen is a loopback address and port; port 0 is a free one.
	Listen string
	// Logs are the names of the logs that are shown.
	Logs []string
	// Announce is told the link that lets in, once, and the next one as soon as one was used.
	Announce func(url string, next bool)
}

// Server serves the page.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens the port. An AddressError is one that is not on loopback.
func Listen(o Options) (*Server, error) {
	address, err := loopback(o.Listen)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the dashboard: %w", err)
	}
	client := control.NewClient(o.Dir.Control())
	p := &page{client: client, sampler: vitals.NewSampler(client), records: newRecords(o.Dir, o.Logs)}
	next := false
	g := newGuard(p, func(path string) {
		o.Announce("http://"+l.Addr().String()+path, next)
		next = true
	})
	return &Server{listener: netutil.LimitListener(l, connections), http: &http.Server{
		Handler: g, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0),
	}}, nil
}

// Serve answers until ctx ends and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.http.Close() })()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the dashboard: %w", err)
	}
	return nil
}

// page answers whom the guard has let in.
type page struct {
	client  *control.Client
	records *records

	mu      sync.Mutex
	sampler *vitals.Sampler
	state   state
	// asked is when the supervisor was, learned when it last told what seldom changes.
	asked, learned time.Time
}

// state is what the page polls.
type state struct {
	// Away says why the supervisor does not answer; the rest is of when it last did.
	Away         string            `json:"away,omitempty"`
	Sample       *vitals.Sample    `json:"sample,omitempty"`
	Missing      []string          `json:"missing,omitempty"`
	Certificates []pki.Certificate `json:"certificates,omitempty"`
}

// files are all that there are: no path of a request is one of the file system.
var files = map[string][2]string{
	"/": {"index.html", "text/html; charset=utf-8"}, "/style.css": {"style.css", "text/css; charset=utf-8"},
	"/app.js": {"app.js", "text/javascript; charset=utf-8"}, "/icon.svg": {"icon.svg", "image/svg+xml"},
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch r.URL.Path {
	case "/api/state":
		p.answer(w, p.redacted(p.now(context.WithoutCancel(r.Context()))), nil)
	case "/api/events":
		all, err := p.records.events()
		p.answer(w, all, err)
	case "/api/logs":
		all, err := p.records.lines(query.Get("tier"), query.Get("grep"))
		p.answer(w, all, err)
	default:
		file, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		content, _ := assets.ReadFile("assets/" + file[0]) // it is there
		w.Header().Set("Content-Type", file[1])
		_, _ = w.Write(content)
	}
}

// answer sends a value that has no secrets.
func (p *page) answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(w, p.records.redact(err.Error()), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

// redacted takes secrets out of each text of a state.
func (p *page) redacted(s state) any {
	data, _ := json.Marshal(s) // numbers and text
	var plain any
	_ = json.Unmarshal(data, &plain)
	return p.records.redactAll(plain)
}

// now asks the supervisor, unless somebody has a moment ago. Whoever comes meanwhile waits for the same answer.
func (p *page) now(ctx context.Context) state {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) < fresh {
		return p.state
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	sample, err := p.sampler.Sample(ctx)
	p.asked = time.Now()
	if err != nil {
		p.state.Away = err.Error()
		return p.state
	}
	p.state.Sample, p.state.Away = &sample, ""
	if p.asked.Sub(p.learned) < steady {
		return p.state
	}
	certificates, err := p.client.Certificates(ctx)
	status, failed := p.client.Status(ctx)
	if err == nil && failed == nil {
		p.state.Certificates, p.state.Missing, p.learned = certificates, status.Isolation.Missing, p.asked
	}
	return p.state
}
