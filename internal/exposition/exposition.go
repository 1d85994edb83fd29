// Package exposition is how a head shows the metrics of every tier as those of
// one server, and what each tier tells about itself alone.
package exposition

import (
	"context"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/metrics/prometheus/slis"

	"triptych.dev/triptych/internal/tier"
)

const (
	metricsPath = "/metrics"
	slisPath    = "/metrics/slis"
	// tiersPath is below /debug, which stock does not let everybody read either.
	tiersPath = "/debug/tiers/"
	// patience is half of the time that Prometheus gives a scrape.
	patience = 5 * time.Second
)

// shown are the paths that a tier shows of itself. No others: who may read
// below /debug/tiers is not thereby allowed to read objects, and a judged
// request is not judged again.
var shown = []string{metricsPath, "/flagz", "/statusz", "/debug/pprof", "/debug/flags", "/debug/api_priority_and_fairness"}

// Tier is a tier other than the head.
type Tier struct {
	Name tier.Name
	// Judged forwards a request that the head has authorized.
	Judged http.Handler
	// Each does so for each replica, by name. Nil where there is one.
	Each func() map[string]http.Handler
}

// process is one whose metrics are asked for.
type process struct {
	tier tier.Name
	// replica is empty where the tier has no other.
	replica string
	judged  http.Handler
}

// processes are those of the other tiers now.
func (e *exposition) processes() []process {
	var all []process
	for _, t := range e.others {
		replicas := map[string]http.Handler{}
		if t.Each != nil {
			replicas = t.Each()
		}
		if len(replicas) < 2 {
			all = append(all, process{tier: t.Name, judged: t.Judged})
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(replicas)) {
			all = append(all, process{t.Name, name, replicas[name]})
		}
	}
	return all
}

// exposition is the handler.
type exposition struct {
	self   tier.Name
	here   http.Handler
	others []Tier
}

// New returns a handler for behind the authorization of the head self. It
// serves the metrics of all tiers, those of one tier below /debug/tiers/NAME,
// and hands everything else to here.
func New(self tier.Name, here http.Handler, others ...Tier) http.Handler {
	return &exposition{self: self, here: here, others: others}
}

// ServeHTTP implements http.Handler.
func (e *exposition) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == metricsPath || r.URL.Path == slisPath:
		e.all(w, r)
	case strings.HasPrefix(r.URL.Path, tiersPath):
		e.one(w, r)
	default:
		e.here.ServeHTTP(w, r)
	}
}

// all answers in whatever format upstream's handler would. It is left to that
// handler whether DELETE resets; if so, it resets every tier.
func (e *exposition) all(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		each(e.processes(), func(p process) (*answer, error) { return ask(ctx, r, p.judged) })
		e.here.ServeHTTP(w, r)
		return
	}
	gather := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return e.gather(r) })
	promhttp.HandlerFor(gather, promhttp.HandlerOpts{ProcessStartTime: legacyregistry.GetProcessStart()}).ServeHTTP(w, r)
}

func (e *exposition) gather(r *http.Request) ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	others, answers := e.processes(), make(chan []*answer, 1)
	go func() {
		answers <- each(others, func(p process) (*answer, error) { return ask(ctx, r, p.judged) })
	}()
	own, err := registries[r.URL.Path].Gather()
	if err != nil {
		return nil, err
	}
	all := merged{}
	self := process{tier: e.self}
	all.add(self, own)
	up := []sample{{self, 1}}
	for i, answer := range <-answers {
		value := 0.0
		if answer != nil {
			all.add(others[i], slices.DeleteFunc(answer.families, ofHead))
			value = 1
		}
		up = append(up, sample{others[i], value})
	}
	if r.URL.Path == metricsPath {
		all.add(process{}, []*dto.MetricFamily{tiersUp(up)})
	}
	return all.sorted(), nil
}

// ofHead tells which families are true of the head alone: who a client is, it
// finds out. The filter of a tier behind it reads the verdict and counts the
// request once more, as one that took no time.
func ofHead(family *dto.MetricFamily) bool {
	switch family.GetName() {
	case "authentication_attempts", "authenticated_user_requests", "authentication_duration_seconds":
		return true
	}
	return false
}

// registries hold what this process serves at a path.
var registries = map[string]prometheus.Gatherer{metricsPath: legacyregistry.DefaultGatherer, slisPath: slis.Registry}

// one hands a request for one tier to it.
func (e *exposition) one(w http.ResponseWriter, r *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, tiersPath), "/")
	handler, known := e.handler(tier.Name(name))
	if rest = "/" + rest; !known || !isShown(rest) {
		e.here.ServeHTTP(w, r) // its 404 is stock's
		return
	}
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = rest, ""
	r.RequestURI = r.URL.RequestURI()
	handler.ServeHTTP(w, r)
}

func (e *exposition) handler(name tier.Name) (http.Handler, bool) {
	if name == e.self {
		return e.here, true
	}
	for _, t := range e.others {
		if t.Name == name {
			return t.Judged, true
		}
	}
	for _, p := range e.processes() {
		if p.replica == string(name) && p.replica != "" {
			return p.judged, true
		}
	}
	return nil, false
}

// isShown demands a path that means itself everywhere, whoever cleans it later.
func isShown(p string) bool {
	if path.Clean(p) != strings.TrimSuffix(p, "/") {
		return false
	}
	for _, prefix := range shown {
		if rest, ok := strings.CutPrefix(p, prefix); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
