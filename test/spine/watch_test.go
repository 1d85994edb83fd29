package spine

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// watchBody opens a watch and returns its stream, for the test.
func watchBody(t *testing.T, api *harness.API, http1Only bool, path string, headers ...string) (*http.Response, context.CancelFunc) {
	t.Helper()
	config := api.Config(t)
	if http1Only {
		http1(config)
	}
	client := harness.Must(rest.HTTPClientFor(config))(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req := harness.Must(http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, nil))(t)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp := harness.Must(client.Do(req))(t)
	t.Cleanup(func() { resp.Body.Close() })
	return resp, cancel
}

// event is what all watches have in common.
type event struct {
	Type   string
	Object struct {
		Kind     string
		Metadata struct {
			Name        string
			Annotations map[string]string
		}
		Code   int
		Reason string
	}
}

// An event is on its way when the next one is written; the initial ones are
// complete when the bookmark says so. Core, custom resources and APIServices.
func TestWatchesLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	const group = "watching.example.com"
	c, stock := harness.Shared(t), harness.SharedStock(t)
	for side, api := range map[string]*harness.API{"ours": &c.API, "stock": &stock.API} {
		installCRD(t, api, group)
		createGadget(t, api, group, "before")
		api.Kubectl(t, "create", "configmap", "before-watch")
		for name, path := range map[string]string{
			"core": "/api/v1/namespaces/default/configmaps", "custom resources": gadgetsPath(group),
			"APIServices": "/apis/apiregistration.k8s.io/v1/apiservices",
		} {
			for _, old := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s HTTP/1.1 %v", side, name, old), func(t *testing.T) {
					resp, _ := watchBody(t, api, old, path+"?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan")
					events := json.NewDecoder(resp.Body)
					for initial := 0; ; initial++ {
						var e event
						if err := events.Decode(&e); err != nil {
							t.Fatalf("after %d events: %v", initial, err)
						}
						if e.Type == "BOOKMARK" {
							if e.Object.Metadata.Annotations["k8s.io/initial-events-end"] != "true" || initial == 0 {
								t.Errorf("a bookmark %+v after %d events", e, initial)
							}
							break
						}
					}
				})
			}
		}
		t.Run(side+" at once", func(t *testing.T) {
			resp, _ := watchBody(t, api, false, gadgetsPath(group)+"?watch=true&fieldSelector=metadata.name%3Dat-once")
			events := json.NewDecoder(resp.Body)
			path := createGadget(t, api, group, "at-once")
			for i := range 20 {
				// The next write waits for the event of the last one.
				var e event
				if err := events.Decode(&e); err != nil || e.Object.Metadata.Name != "at-once" {
					t.Fatalf("event %d: %+v %v", i, e, err)
				}
				patch := fmt.Sprintf(`{"spec": {"size": %d}}`, i+2)
				answer := harness.Must(harness.Send(t.Context(), api.Config(t), "PATCH", path, patch, "Content-Type", "application/merge-patch+json"))(t)
				if answer.Code != http.StatusOK {
					t.Fatal(answer)
				}
			}
		})
	}
	t.Run("answers", func(t *testing.T) { watchAnswers(t, &c.API, &stock.API, group) })
}

// watchAnswers compares how watches begin and end.
func watchAnswers(t *testing.T, ours, stock *harness.API, group string) {
	core, custom := "/api/v1/namespaces/default/configmaps", gadgetsPath(group)
	for _, path := range []string{core, custom} {
		for _, c := range []struct{ query, accept string }{
			{"watch=true&resourceVersion=NOW&timeoutSeconds=1", ""},
			{"watch=true&resourceVersion=x", ""},
			{"watch=true&resourceVersion=999999999&timeoutSeconds=1", ""},
			{"watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dbefore", ""},
			{"watch=true&timeoutSeconds=1&sendInitialEvents=true", ""},
			{"watch=true&timeoutSeconds=x", ""},
			{"watch=&timeoutSeconds=1&limit=1", "application/json"},
			{"watch=true&timeoutSeconds=1", "application/vnd.kubernetes.protobuf;stream=watch"},
			{"watch=true&timeoutSeconds=1", "application/cbor"},
			{"watch=true&timeoutSeconds=1", "application/json;as=Table;v=v1;g=meta.k8s.io"},
			{"watch=true&timeoutSeconds=1", "text/html"},
		} {
			t.Run(strings.ReplaceAll(path, "/", "|")+" "+c.query+" "+c.accept, func(t *testing.T) {
				got := map[string]string{}
				for side, api := range map[string]*harness.API{"ours": ours, "stock": stock} {
					query := strings.ReplaceAll(c.query, "NOW", versionOf(t, api, path))
					resp, _ := watchBody(t, api, true, path+"?"+query, "Accept", c.accept)
					body, err := io.ReadAll(resp.Body)
					got[side] = fmt.Sprint(resp.StatusCode, resp.Header["Content-Type"], resp.TransferEncoding, err)
					if resp.StatusCode != http.StatusOK {
						got[side] += string(body)
					} else if resp.Header.Get("Content-Type") == "application/json" {
						got[side] += fmt.Sprint(kindsOf(body))
					}
				}
				if diff := cmp.Diff(got["stock"], got["ours"]); diff != "" {
					t.Errorf("(- stock, + ours)\n%s", diff)
				}
			})
		}
	}
}

// kindsOf tells errors apart; other events depend on what else is stored.
func kindsOf(stream []byte) (all []string) {
	events := json.NewDecoder(strings.NewReader(string(stream)))
	for {
		var e event
		if events.Decode(&e) != nil {
			return all
		}
		if e.Type == "ERROR" {
			all = append(all, fmt.Sprint(e.Object.Kind, e.Object.Code, e.Object.Reason))
		}
	}
}

var longRunning = regexp.MustCompile(`(?m)^apiserver_longrunning_requests\{.*resource="(?:configmaps|gadgets)".*verb="WATCH".*\} (\d+)`)

// Watches of clients that vanish end in the tier that serves them.
func TestVanishedWatchersAreMissedByTheTier(t *testing.T) {
	const group, watchers = "vanished.example.com", 200
	c := harness.Shared(t)
	installCRD(t, &c.API, group)
	in := insideOf(t, c)
	for name, watched := range map[tier.Name]struct{ by, path string }{
		tier.Core:       {"aggregator/delegation", "/api/v1/namespaces/default/configmaps"},
		tier.Extensions: {"core/delegation", gadgetsPath(group)},
	} {
		t.Run(string(name), func(t *testing.T) {
			open := func() (int, error) {
				got, err := get(t, in.tiers[name].Hop, in.config(name, in.forge(t, watched.by)), "/metrics", stamped(t))
				if err != nil || got.Code != http.StatusOK {
					return 0, fmt.Errorf("%s %w", got, err)
				}
				sum := 0
				for _, m := range longRunning.FindAllSubmatch(got.Body, -1) {
					n, _ := strconv.Atoi(string(m[1]))
					sum += n
				}
				return sum, nil
			}
			before := harness.Must(open())(t)
			u := harness.Must(url.Parse(c.URL(t)))(t)
			config := c.TLS(t)
			config.NextProtos = []string{"http/1.1"}
			var conns []net.Conn
			for range watchers {
				conn := harness.Must(tls.Dial("tcp", u.Host, config))(t)
				_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
				fmt.Fprintf(conn, "GET %s?watch=true HTTP/1.1\r\nHost: x\r\n\r\n", watched.path)
				if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
					t.Fatalf("%q %v", line, err)
				}
				conns = append(conns, conn.NetConn())
			}
			if n, err := open(); err != nil || n < before+watchers {
				t.Fatalf("the tier serves %d watches, %d before, %v", n, before, err)
			}
			for _, conn := range conns {
				conn.Close()
			}
			harness.Eventually(t, soon, "the tier serves as many watches as before", func() error {
				n, err := open()
				if err == nil && n > before {
					err = errors.New(strconv.Itoa(n-before) + " too many")
				}
				return err
			})
		})
	}
}
