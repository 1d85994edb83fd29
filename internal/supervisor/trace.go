package supervisor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

const (
	// traceTimeout bounds each question of a trace: a watch has no end, and a tier may hang.
	traceTimeout = 10 * time.Second
	// traces is how often a process is asked.
	traces = 5
)

// tracer is who asks: the administrator, as a head or core hands requests on.
var tracer = identity.Identity{User: &user.DefaultInfo{Name: "system:admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}}

// Trace implements control.Supervisor.
func (v *Supervisor) Trace(ctx context.Context, path string) (control.Trace, error) {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(u.Path, "/") || u.Host != "" {
		return control.Trace{}, control.RefusedError{Err: fmt.Errorf("cannot trace %q: want a path such as /api/v1/namespaces, with its query if it has one", path)}
	}
	for _, name := range []string{"watch", "follow"} {
		if value := u.Query().Get(name); value == "true" || value == "1" {
			return control.Trace{}, control.RefusedError{Err: fmt.Errorf("cannot trace %s: it has no end: leave out %s", path, name)}
		}
	}
	if !v.setup.headHere() {
		return control.Trace{}, control.RefusedError{Err: errors.New("cannot trace: no head runs on this host: ask the supervisor of one that has it")}
	}
	head := v.process(v.setup.head)
	done := control.Trace{Path: path}
	way := []tier.Name{v.setup.head}
	if err := v.route(ctx, &done, u.Path); err != nil {
		return control.Trace{}, err
	}
	if done.Tier != string(v.setup.head) {
		way = append(way, tier.Name(done.Tier))
	}
	for i, name := range way {
		caller := identity.Supervisor
		if i > 0 {
			caller = way[0] // who hands it on
		}
		p := head
		if i > 0 {
			p = v.process(name)
		}
		if p == nil {
			done.Hops = append(done.Hops, control.TraceHop{Process: string(name), Problem: "no process of it runs on this host"})
			continue
		}
		done.Hops = append(done.Hops, v.hop(ctx, caller, name, p, u))
	}
	return done, nil
}

// process is a place of the tier whose process may be asked, or any of its places, or nil.
func (v *Supervisor) process(name tier.Name) *place {
	places := v.setup.sockets.of(name)
	now, _ := v.chain.Snapshot()
	for _, p := range places {
		if now.Children[replica(name, p.index)].State == lifecycle.Ready {
			return p
		}
	}
	if len(places) > 0 {
		return places[0]
	}
	return nil
}

// route fills in which tier serves path and why, by what the head's table is made of.
func (v *Supervisor) route(ctx context.Context, done *control.Trace, path string) error {
	head := string(v.setup.head)
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api":
		done.Tier, done.Rule = string(tier.Core), "/api is core's"
		return nil
	case parts[0] != "apis":
		done.Tier, done.Rule = head, fmt.Sprintf("outside /api and /apis: the %s serves it, or hands it to core if it has no such path", head)
		return nil
	case len(parts) < 3:
		done.Tier, done.Rule = head, fmt.Sprintf("lists of groups and versions are merged by the %s", head)
		return nil
	}
	group, version := parts[1], parts[2]
	if v.setup.head == tier.Aggregator {
		if group == "apiregistration.k8s.io" {
			done.Tier, done.Rule = head, "APIServices are the aggregator's"
			return nil
		}
		behind, err := v.apiService(ctx, version+"."+group)
		if err != nil {
			return err
		}
		if behind != "" {
			done.Tier, done.Behind = head, behind
			done.Rule = fmt.Sprintf("APIService %s.%s sends it to an API server of its own", version, group)
			return nil
		}
	}
	for _, name := range []tier.Name{tier.Core, tier.Extensions} {
		serves, err := v.serves(ctx, name, group, version)
		if err != nil {
			return err
		}
		if serves {
			done.Tier = string(name)
			done.Rule = fmt.Sprintf("%s announces %s/%s", name, group, version)
			if name == tier.Core {
				done.Rule += ", which no CRD can take from it"
			}
			return nil
		}
	}
	done.Tier, done.Rule = string(tier.Core), fmt.Sprintf("nobody announces %s/%s: core is asked, which knows for certain", group, version)
	return nil
}

// serves tells whether a tier announces a group version.
func (v *Supervisor) serves(ctx context.Context, name tier.Name, group, version string) (bool, error) {
	p := v.process(name)
	if p == nil {
		return false, nil
	}
	client, err := handshake.NewClient(name, p.handshake.address.String(), v.setup.selfTLS(name), nil)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	ran := make(chan struct{})
	go func() { client.Run(ctx); close(ran) }()
	defer func() { cancel(); <-ran }()
	state, err := client.Wait(ctx, func(s handshake.State) bool { return s.Routes != nil })
	if err != nil {
		return false, fmt.Errorf("cannot trace: %s does not say what it serves: %w", name, err)
	}
	for _, gv := range state.Routes.GetGroupVersions() {
		if gv.GetGroup() == group && gv.GetVersion() == version {
			return true, nil
		}
	}
	return false, nil
}

// apiService returns the Service that an APIService leads to, or nothing.
func (v *Supervisor) apiService(ctx context.Context, name string) (string, error) {
	client, p, err := v.asker(identity.Supervisor, v.setup.head, v.process(v.setup.head))
	if err != nil {
		return "", err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	resp, err := get(ctx, client, "https://"+p+"/apis/apiregistration.k8s.io/v1/apiservices/"+name)
	if err != nil {
		return "", fmt.Errorf("cannot trace: the head does not say which APIServices there are: %w", err)
	}
	defer resp.Body.Close()
	var is struct {
		Spec struct {
			Service *struct{ Namespace, Name string }
		}
	}
	if resp.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&is); err != nil || is.Spec.Service == nil {
		return "", err
	}
	return is.Spec.Service.Namespace + "/" + is.Spec.Service.Name, nil
}

// asker is a client that asks a process as caller, and where.
func (v *Supervisor) asker(caller, name tier.Name, p *place) (*http.Client, string, error) {
	if p == nil {
		return nil, "", fmt.Errorf("no process of %s runs on this host", name)
	}
	mine := v.setup.pki.Internal(caller)
	cfg, err := pki.ClientTLS(mine.CA, mine.Delegation.Cert, mine.Delegation.Key, identity.ServerName(name))
	if err != nil {
		return nil, "", err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}, p.hop.address.String(), nil
}

func get(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	who := tracer
	who.ReceivedAt = time.Now()
	if err := identity.Stamp(r.Header, who); err != nil {
		return nil, err
	}
	return client.Do(r)
}

// hop asks one process some times, and tells the median.
func (v *Supervisor) hop(ctx context.Context, caller, name tier.Name, p *place, u *url.URL) control.TraceHop {
	h := control.TraceHop{Process: replica(name, p.index)}
	client, address, err := v.asker(caller, name, p)
	if err != nil {
		h.Problem = err.Error()
		return h
	}
	defer client.CloseIdleConnections()
	h.Address = address
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	target := url.URL{Scheme: "https", Host: address, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	var first, all []time.Duration
	for range traces {
		var begun, connected time.Time
		var firstByte time.Duration
		timed := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn:              func(string) { begun = time.Now() },
			GotConn:              func(httptrace.GotConnInfo) { connected = time.Now() },
			GotFirstResponseByte: func() { firstByte = time.Since(connected) },
		})
		resp, err := get(timed, client, target.String())
		if err != nil {
			h.Problem = err.Error()
			return h
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil {
			h.Problem = err.Error()
			return h
		}
		if len(all) == 0 {
			h.ConnectSeconds = connected.Sub(begun).Seconds()
		}
		h.Code, h.Bytes = resp.StatusCode, n
		first, all = append(first, firstByte), append(all, time.Since(connected))
	}
	slices.Sort(first)
	slices.Sort(all)
	h.FirstByteSeconds, h.Seconds = first[traces/2].Seconds(), all[traces/2].Seconds()
	return h
}
