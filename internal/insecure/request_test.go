package insecure

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/internal/identity"
)

func TestOnlyWhoMeansThisMachineGetsThrough(t *testing.T) {
	var reached atomic.Int32
	f := start(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, c := range []struct {
		headers []string
		code    int
	}{
		{nil, 200},
		{[]string{"Host", "localhost"}, 200},
		{[]string{"Host", "LocalHost:8080"}, 200},
		{[]string{"Host", "127.0.0.1"}, 200},
		{[]string{"Host", "127.8.9.10:1"}, 200},
		{[]string{"Host", "[::1]"}, 200},
		{[]string{"Host", "[::1]:8080"}, 200},
		{[]string{"Host", "[::ffff:127.0.0.1]:8080"}, 200},
		{[]string{"Host", "evil.example"}, 403},
		{[]string{"Host", "evil.example:8080"}, 403},
		{[]string{"Host", "localhost.evil.example"}, 403},
		{[]string{"Host", "127.0.0.1.evil.example"}, 403},
		{[]string{"Host", "evil.example:127.0.0.1"}, 403},
		{[]string{"Host", "10.0.0.1:8080"}, 403},
		{[]string{"Host", "0.0.0.0:8080"}, 403},
		{[]string{"Host", "[::]:8080"}, 403},
		{[]string{"Host", "2130706433"}, 403},
		{[]string{"Host", "kubernetes.default.svc"}, 403},
		{[]string{"Host", ":8080"}, 403},
		{[]string{"Origin", "http://localhost:3000"}, 200},
		{[]string{"Origin", "https://127.0.0.1"}, 200},
		{[]string{"Origin", "http://[::1]:1"}, 200},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "http://localhost.evil.example"}, 403},
		{[]string{"Origin", "http://localhost@evil.example"}, 403},
		{[]string{"Origin", "http://10.0.0.1"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Origin", ""}, 403},
		{[]string{"Origin", "localhost"}, 403},
		{[]string{"Origin", "chrome-extension://localhost"}, 403},
		{[]string{"Origin", "http://localhost", "Origin", "https://evil.example"}, 403},
		{[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		{[]string{"Sec-Fetch-Site", "none"}, 200},
		{[]string{"Sec-Fetch-Site", "same-origin"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"}, 200},
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
	} {
		t.Run(fmt.Sprint(c.headers), func(t *testing.T) {
			before := reached.Load()
			resp, body := f.do(http.MethodGet, "/api", nil, c.headers...)
			if resp.StatusCode != c.code || (reached.Load() > before) != (c.code == 200) {
				t.Fatalf("%s, the head was asked %d times: %s", resp.Status, reached.Load()-before, body)
			}
			if c.code == 403 {
				wantStatus(t, resp, body, metav1.StatusReasonForbidden)
			}
		})
	}
}

func wantStatus(t *testing.T, resp *http.Response, body string, reason metav1.StatusReason) {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if status.Kind != "Status" || status.APIVersion != "v1" || status.Status != metav1.StatusFailure ||
		int(status.Code) != resp.StatusCode || status.Reason != reason || status.Message == "" {
		t.Errorf("%+v", status)
	}
}

// What no client library sends is judged by the same rules.
func TestOddRequestsAreTurnedAway(t *testing.T) {
	var reached atomic.Int32
	f := start(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for request, want := range map[string]string{
		"GET /api HTTP/1.0\r\n\r\n": "403",
		"GET /api HTTP/1.1\r\n\r\n": "400",
		"GET /api HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n":               "400",
		"GET http://evil.example/api HTTP/1.1\r\nHost: localhost\r\n\r\n":                  "403",
		"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n":                                 "403",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n":                     "403",
		"GET /api HTTP/1.1\r\nHost: localhost\r\norigin: https://evil.example\r\n\r\n":     "403",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                 "403",
		"GET /api HTTP/1.1\r\nHost: localhost\r\nX-Triptych-Identity : forged\r\n\r\n":     "400",
		"POST /api HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000000000\r\n\r\nxx": "403",
	} {
		c := must(net.Dial("tcp", f.listener.Addr().String()))
		must(c.Write([]byte(request)))
		line, err := bufio.NewReader(c).ReadString('\n')
		c.Close()
		if err != nil || !strings.Contains(line, " "+want+" ") {
			t.Errorf("%q is answered %q, %v", request, line, err)
		}
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("the head was asked %d times", n)
	}
}

func TestEveryClientIsUnsecuredWhateverItSays(t *testing.T) {
	requests := make(chan *http.Request, 1)
	f := start(t, func(_ http.ResponseWriter, r *http.Request) { requests <- r.Clone(context.Background()) })
	forged := http.Header{}
	if err := identity.Stamp(forged, identity.Identity{User: unsecured, Judged: true}); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	f.do(http.MethodGet, "/api", nil,
		identity.Header, forged.Get(identity.Header), identity.Header, "twice",
		"Authorization", "Bearer secret", "Authorization", "Basic secret",
		"X-Remote-User", "admin", "X-Remote-Uid", "1", "X-Remote-Group", "system:masters", "X-Remote-Extra-Scopes", "all",
		"Impersonate-User", "jane", "Impersonate-Group", "devs", "Impersonate-Extra-Reason", "test",
		"Audit-Id", "mine", "X-Forwarded-For", "192.0.2.1")
	r := <-requests
	got, err := identity.Parse(r.Header)
	if err != nil {
		t.Fatal(err)
	}
	if got.User.GetName() != "system:unsecured" || !reflect.DeepEqual(got.User.GetGroups(), []string{"system:masters", "system:authenticated"}) ||
		got.User.GetUID() != "" || len(got.User.GetExtra()) > 0 || got.Judged || len(got.AuditAnnotations) > 0 {
		t.Errorf("the head is told %+v of %+v", got, got.User)
	}
	if got.ReceivedAt.Before(before) || got.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %s", got.ReceivedAt)
	}
	client, _, err := net.SplitHostPort(got.ClientAddress)
	if err != nil || client != "127.0.0.1" || got.ClientAddress == f.listener.Addr().String() {
		t.Errorf("the client's address is %q", got.ClientAddress)
	}
	if r.Host != f.listener.Addr().String() {
		t.Errorf("the host is %s", r.Host)
	}
	for name := range r.Header {
		if name == "Authorization" || strings.HasPrefix(name, "X-Remote-") {
			t.Errorf("%s got through", name)
		}
	}
	for name, want := range map[string]string{
		"Impersonate-User": "jane", "Impersonate-Group": "devs", "Impersonate-Extra-Reason": "test",
		"Audit-Id": "mine", "X-Forwarded-For": "192.0.2.1",
	} {
		if r.Header.Get(name) != want {
			t.Errorf("%s is %q", name, r.Header.Get(name))
		}
	}
}

func TestWhatIsAWatch(t *testing.T) {
	for target, want := range map[string]bool{
		"/api/v1/pods?watch=true":                              true,
		"/api/v1/pods?watch=1":                                 true,
		"/api/v1/pods?watch":                                   true,
		"/apis/example.com/v1/namespaces/a/gadgets?watch=true": true,
		"/api/v1/watch/pods":                                   true,
		"/api/v1/namespaces/a/pods?fieldSelector=metadata.name=b&watch=true": true,
		"/api/v1/pods":                                           false,
		"/api/v1/pods?watch=false":                               false,
		"/api/v1/pods?watch=0":                                   false,
		"/api/v1/namespaces/a/pods/b?watch=true":                 false,
		"/api/v1/namespaces/a/pods/b/log?follow=true&watch=true": false,
		"/openapi/v2?watch=true":                                 false,
	} {
		if got := isWatch(httptest.NewRequest(http.MethodGet, target, nil)); got != want {
			t.Errorf("%s: %v", target, got)
		}
	}
	if isWatch(httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/a/pods?watch=true", nil)) {
		t.Error("a POST is no watch")
	}
}
