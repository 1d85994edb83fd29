package spine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// agreed bounds how long two servers may take to say the same.
const agreed = 90 * time.Second

// both are our API and stock's.
type both struct {
	ours, stock *harness.API
}

// agree waits until both say the same.
func (b both) agree(t *testing.T, what string, read func(api *harness.API) any) {
	t.Helper()
	harness.Eventually(t, agreed, what+" equals stock's", func() error {
		if diff := cmp.Diff(read(b.stock), read(b.ours)); diff != "" {
			return fmt.Errorf("(- stock, + ours)\n%s", firstLines(diff, 60))
		}
		return nil
	})
}

// caching is of an answer what a cache goes by.
type caching struct {
	Code                                      int
	ContentType, CacheControl, Vary, Location string
	Tagged, Dated, Expires, Empty             bool
}

func cachingOf(answer harness.Answer) caching {
	h := answer.Header
	location, _, _ := strings.Cut(h.Get("Location"), "hash=")
	return caching{
		answer.Code, h.Get("Content-Type"), strings.Join(h.Values("Cache-Control"), "; "), strings.Join(h.Values("Vary"), "; "), location,
		h.Get("ETag") != "", h.Get("Last-Modified") != "", h.Get("Expires") != "", len(answer.Body) == 0,
	}
}

// Whoever keeps documents is told the same as by stock: what may be kept and for
// how long, and that nothing has changed.
func TestDocumentsAreCachedLikeStocks(t *testing.T) {
	b := both{&harness.Shared(t).API, &harness.SharedStock(t).API}
	for _, path := range []string{"/apis", "/api", "/openapi/v2", "/openapi/v3"} {
		accept := []string{"Accept", "application/json"}
		if strings.HasPrefix(path, "/api") {
			accept[1] = aggregatedDiscovery
		}
		b.agree(t, path, func(api *harness.API) any {
			first := api.Get(t, path, accept...)
			again := api.Get(t, path, append(accept, "If-None-Match", first.Header.Get("ETag"))...)
			other := api.Get(t, path, append(accept, "If-None-Match", `"another"`)...)
			return []caching{cachingOf(first), cachingOf(again), cachingOf(other)}
		})
	}
	for _, name := range []string{"apis/apps/v1", "api/v1", "apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1", "version"} {
		b.agree(t, name, func(api *harness.API) any {
			url := openAPIV3(t, api)[name]
			plain, _, _ := strings.Cut(url, "?")
			config := api.Config(t)
			var all []caching
			first := api.Get(t, url)
			for _, ask := range [][]string{
				{url}, {plain}, {url, "Accept", "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"}, {url, "Accept", "text/html"},
				{url, "If-None-Match", first.Header.Get("ETag")}, {plain, "If-None-Match", first.Header.Get("ETag")},
			} {
				all = append(all, cachingOf(api.Get(t, ask[0], ask[1:]...)))
			}
			client := harness.Must(rest.HTTPClientFor(config))(t)
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			stale := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+plain+"?hash=old", nil))(t)
			return append(all, cachingOf(harness.Must(harness.Do(client, stale))(t)))
		})
	}
}
