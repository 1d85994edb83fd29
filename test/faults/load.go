package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	clientsPerKind = 3
	// pace of one client: a request each, or as soon as the one before has its answer.
	pace = 40 * time.Millisecond
	// pause of a client whose request failed.
	pause = 200 * time.Millisecond
	// patience of a client with one request.
	patience = 10 * time.Second
)

// client sends requests, each once, over a connection of its own.
type client struct {
	id     int
	kind   kind
	shelf  *shelf
	http   *http.Client
	host   string
	record *Record
	values *atomic.Int64
	chance *rand.Rand
	// seen is the last version of each object that it knows.
	seen map[string]Version
}

func newHTTP(config *rest.Config) (*http.Client, string, error) {
	own := rest.CopyConfig(config)
	// client-go shares a connection among equal configurations unless they bring a
	// dialer.
	own.Dial = (&net.Dialer{Timeout: patience}).DialContext
	c, err := rest.HTTPClientFor(own)
	return c, strings.TrimSuffix(config.Host, "/"), err
}

func (c *client) send(method, path, body, contentType string) (harness.Answer, error) {
	// Not cancelled by the end of a round: what was sent is waited for.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.host+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the paths are ours
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return harness.Do(c.http, req)
}

// run works until ctx ends.
func (c *client) run(ctx context.Context, round int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	c.seen = map[string]Version{}
	for ctx.Err() == nil {
		next := tick.C
		if c.act(round).Failure != "" {
			next = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-next:
		}
	}
}

func (c *client) act(round int) Op {
	names := c.shelf.names()
	name := names[c.chance.IntN(len(names))]
	switch n := c.chance.IntN(20); {
	case n == 0:
		return c.list(round, names)
	case n == 1:
		return c.discover(round)
	case n == 2:
		return c.do(round, sentinel, Get)
	case n < 7:
		return c.do(round, name, Get)
	case c.seen[name].RV == 0:
		return c.do(round, name, Create)
	case n < 12:
		return c.do(round, name, Update)
	case n < 16:
		return c.do(round, name, Patch)
	case n < 18:
		return c.do(round, name, Delete)
	default:
		return c.do(round, name, Create)
	}
}

func (c *client) do(round int, name string, verb Verb) Op {
	op := Op{Round: round, Kind: c.kind.name, Name: name, Client: c.id, Verb: verb}
	base := c.seen[name]
	switch verb {
	case Update:
		op.Base = base.Value
		fallthrough
	case Create, Patch:
		op.Value = c.values.Add(1)
	}
	method, path, body, contentType := c.kind.request(op, base.RV)
	op.Call = c.record.now()
	answer, err := c.send(method, path, body, contentType)
	op.Return = c.record.now()
	op.settle(answer, err)
	if name == sentinel && op.Outcome == Absent {
		op.Failure = failedNotFound
	}
	switch {
	case op.Outcome == Done && verb != Delete:
		c.seen[name] = op.Saw
	case op.Outcome == Absent || op.Outcome == Done:
		delete(c.seen, name)
	case op.Outcome == Exists:
		c.seen[name] = Version{RV: 1} // some version: a get tells which
	}
	c.shelf.used(op)
	c.record.add(op)
	return op
}

// list is a get of every named object, and returns the first.
func (c *client) list(round int, names []string) Op {
	path := c.kind.path + "?labelSelector=" + url.QueryEscape(fmt.Sprintf("%s=%d", roundKey, round))
	proto := Op{Round: round, Kind: c.kind.name, Client: c.id, Verb: Get, Call: c.record.now()}
	answer, err := c.send(http.MethodGet, path, "", "")
	proto.Return = c.record.now()
	proto.Outcome, proto.Failure = judge(answer, err)
	proto.Code = answer.Code
	var all struct{ Items []object }
	if proto.Outcome == Done && json.Unmarshal(answer.Body, &all) != nil {
		proto.Outcome, proto.Failure = Unknown, "answer unreadable"
	}
	if proto.Outcome != Done {
		proto.Name, proto.Said = names[0], fmt.Sprint("LIST: ", answer, err)
		c.record.add(proto)
		return proto
	}
	found := map[string]Version{}
	for _, o := range all.Items {
		found[o.Metadata.Name] = o.version()
	}
	var ops []Op
	for _, name := range names {
		op := proto
		op.Name = name
		if op.Saw = found[op.Name]; op.Saw.RV == 0 {
			op.Outcome = Absent
		}
		ops = append(ops, op)
	}
	c.record.add(ops...)
	return ops[0]
}

// discover reads the document of the group, which must name the resource.
func (c *client) discover(round int) Op {
	op := Op{Round: round, Kind: c.kind.name, Name: "discovery", Client: c.id, Verb: Get, Call: c.record.now()}
	answer, err := c.send(http.MethodGet, c.kind.groupPath(), "", "")
	op.Return = c.record.now()
	op.Outcome, op.Failure = judge(answer, err)
	op.Code = answer.Code
	resource := c.kind.path[strings.LastIndex(c.kind.path, "/")+1:]
	switch {
	case op.Outcome == Done && !strings.Contains(string(answer.Body), `"`+resource+`"`):
		op.Failure, op.Said = failedNotFound, "discovery without "+resource
	case op.Outcome == Absent:
		op.Failure = failedNotFound
	case op.Failure != "":
		op.Said = fmt.Sprint(answer, err)
	}
	op.Outcome = Refused // a document is no register
	c.record.add(op)
	return op
}

// load is all clients in one round.
type load struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

func startLoad(clients []*client, round int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel}
	for _, c := range clients {
		l.done.Go(func() { c.run(ctx, round) })
	}
	return l
}

// end waits for every request in flight.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}
