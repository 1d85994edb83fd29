package dashboard

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/datadir"
)

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "10.0.0.1:80", "example.com:80", "127.0.0.1", "localhost", "localhost:x", "localhost.example.com:0", ""} {
		if _, err := Listen(Options{Listen: address}); !errors.As(err, &AddressError{}) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A link lets in once, by a cookie that no script reads and no other site sends; nobody else is shown anything.
func TestOnlyWhoHasTheLinkIsShownAnything(t *testing.T) {
	var links []string
	dir := datadir.Dir{Root: t.TempDir()}
	g := newGuard(&page{records: newRecords(dir, nil)}, func(path string) { links = append(links, path) })
	ask := func(method, path, host string, change func(*http.Request)) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		r.Host = host
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		for name, value := range headers {
			if w.Result().Header.Get(name) != value {
				t.Errorf("%s %s without %s", method, path, name)
			}
		}
		return w.Result()
	}
	const here = "127.0.0.1:1"
	want := func(code int, resp *http.Response, what string) {
		t.Helper()
		if resp.StatusCode != code {
			t.Errorf("%s: %s", what, resp.Status)
		}
	}
	for _, path := range []string{"/", g.base + "/", g.base + "/api/state", g.base + "/app.js", g.base + "/open/", links[0] + "x", links[0][:len(links[0])-1]} {
		want(401, ask("GET", path, here, nil), path)
	}
	want(421, ask("GET", links[0], "evil.example:1", nil), "another name")
	want(421, ask("GET", links[0], "", nil), "no name")
	want(405, ask("POST", links[0], here, nil), "POST")
	want(401, ask("HEAD", links[0], here, nil), "HEAD spends no link")
	opened := ask("GET", links[0], here, nil)
	want(200, opened, "the link")
	cookies := opened.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Path != g.base+"/" || cookies[0].Domain != "" {
		t.Fatalf("%+v", cookies)
	}
	want(401, ask("GET", links[0], here, nil), "a link that was used")
	if len(links) != 2 {
		t.Fatalf("%d links", len(links))
	}
	with := func(r *http.Request) { r.AddCookie(cookies[0]) }
	want(401, ask("GET", g.base+"/", here, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: "wrong"}) }), "a wrong cookie")
	want(401, ask("GET", g.base+"/api/events", here, func(r *http.Request) { with(r); r.Header.Set("Sec-Fetch-Site", "same-site") }), "another port's page")
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg", "/api/events", "/api/logs"} {
		want(200, ask("GET", g.base+path, here, with), path)
	}
	for _, path := range []string{"/../guard.go", "/assets/index.html", "/..%2f..%2fetc/passwd", "//etc/passwd"} {
		want(404, ask("GET", g.base+path, here, with), path)
	}
	want(404, ask("GET", "/etc/passwd", here, with), "outside")
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		want(405, ask(method, g.base+"/api/state", here, with), method)
	}
	want(421, ask("GET", g.base+"/api/events", "evil.example", with), "another name with the cookie")
	if csp := headers["Content-Security-Policy"]; !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Error(csp)
	}
}

// Secrets are taken out before a pattern is compared.
func TestLogsAreShownWithoutSecrets(t *testing.T) {
	dir := datadir.Dir{Root: t.TempDir()}
	if err := os.MkdirAll(dir.Log(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir.Log(), "core.log"), []byte("I said Bearer abcdefghijkl\nplain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(query string) (int, string) {
		w := httptest.NewRecorder()
		(&page{records: newRecords(dir, []string{"core"})}).ServeHTTP(w, httptest.NewRequest("GET", "/api/logs"+query, nil))
		body, _ := io.ReadAll(w.Result().Body)
		return w.Code, string(body)
	}
	if _, all := ask(""); strings.Contains(all, "abcdefghijkl") || !strings.Contains(all, "[redacted]") || !strings.Contains(all, "plain") {
		t.Error(all)
	}
	if _, found := ask("?grep=abcdef"); strings.TrimSpace(found) != "[]" {
		t.Error(found)
	}
	if code, _ := ask("?grep=("); code != 400 {
		t.Error(code)
	}
}
