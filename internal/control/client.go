package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// ErrNotRunning tells that nobody listens on the control socket.
var ErrNotRunning = errors.New("no supervisor is running")

// Client calls the supervisor behind one control socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the socket at path. Nothing is sent yet.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", c.path)
}

// Status returns how the control plane stands.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, s)
}

// Security returns what each process may do.
func (c *Client) Security(ctx context.Context) ([]SecurityRow, error) {
	var rows []SecurityRow
	return rows, c.call(ctx, http.MethodGet, "/v1/security", nil, &rows)
}

// Stop has the supervisor stop and returns when it is gone.
func (c *Client) Stop(ctx context.Context, now bool) error {
	gone, err := c.watchProcess(ctx)
	if err != nil {
		return err
	}
	defer gone.Close()
	query := url.Values{}
	if now {
		query.Set("now", "true")
	}
	if err := c.call(ctx, http.MethodPost, "/v1/stop", query, nil); err != nil {
		return err
	}
	return gone.Wait(ctx)
}

// Scale has each named tier have so many replicas, and returns when that is so.
func (c *Client) Scale(ctx context.Context, wanted map[string]int) error {
	query := url.Values{}
	for name, n := range wanted {
		query.Set(name, strconv.Itoa(n))
	}
	return c.call(ctx, http.MethodPost, "/v1/scale", query, nil)
}

// Invite makes a token by which another host joins, see Supervisor.Invite.
func (c *Client) Invite(ctx context.Context, listen string, ttl time.Duration) (*Invitation, error) {
	made := &Invitation{}
	return made, c.call(ctx, http.MethodPost, "/v1/join-token", url.Values{"listen": {listen}, "ttl": {ttl.String()}}, made)
}

// Restart has the named tier, replica or etcd replaced by new processes, and returns
// when they are ready.
func (c *Client) Restart(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/restart", url.Values{"name": {name}}, nil)
}

// CompactEtcd has the supervisor make room in its etcd.
func (c *Client) CompactEtcd(ctx context.Context) (*Compaction, error) {
	done := &Compaction{}
	return done, c.call(ctx, http.MethodPost, "/v1/etcd/compact", nil, done)
}

// Reload has the configuration read again, and what can change live put in force unless
// dry.
func (c *Client) Reload(ctx context.Context, dry bool) (*Reload, error) {
	done := &Reload{}
	return done, c.call(ctx, http.MethodPost, "/v1/reload", url.Values{"dry": {strconv.FormatBool(dry)}}, done)
}

// MoveExtensions has CRDs and custom resources moved to another etcd.
func (c *Client) MoveExtensions(ctx context.Context, to MoveTarget) (*Move, error) {
	body, err := json.Marshal(to)
	if err != nil {
		return nil, err
	}
	done := &Move{}
	return done, c.send(ctx, http.MethodPost, "/v1/etcd/move-extensions", nil, bytes.NewReader(body), done)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, into any) error {
	return c.send(ctx, method, path, query, nil, into)
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader, into any) error {
	u := url.URL{Scheme: "http", Host: "supervisor", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return refused(resp)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

func refused(resp *http.Response) error {
	f := failure{}
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the supervisor answered %s", resp.Status)
	}
	return f.err()
}

// explain tells nobody there from all other failures.
func explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotRunning
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: the control socket is for root and the supervisor's own user", err)
	}
	return err
}
