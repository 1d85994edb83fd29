// Package dashboard is a web page of what a control plane does, for one person on the same machine. It shows and
// changes nothing, and asks the control socket and the data directory with the rights of whoever started it.
package dashboard

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// AddressError is an address that the dashboard does not listen on.
type AddressError struct{ Address string }

func (e AddressError) Error() string {
	return fmt.Sprintf("--listen=%s is not on loopback: want 127.0.0.1:PORT, localhost:PORT or [::1]:PORT, and for another machine a tunnel of SSH to it", e.Address)
}

// loopback returns the address to listen on. localhost is 127.0.0.1, whatever others take it for.
func loopback(address string) (string, error) {
	if port, ok := strings.CutPrefix(address, "localhost:"); ok {
		address = "127.0.0.1:" + port
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() || at.Addr().Zone() != "" {
		return "", AddressError{address}
	}
	return address, nil
}

// cookieName is of the session. Cookies do not know ports, so its path is a secret of the start: servers at other
// ports of this machine are not sent it.
const cookieName = "triptych-dashboard"

// headers are those of every answer.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// entry is after a link was used: a redirection would be a part of the navigation that another site may have begun, and
// be sent without a strict cookie.
const entry = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Triptych</title><link rel="icon" href="%[1]sicon.svg">` +
	`<meta http-equiv="refresh" content="0;url=%[1]s"><a href="%[1]s">Dashboard</a>`

// guard lets in whoever has the link, by way of a cookie.
type guard struct {
	// base is what all paths begin with, session the value of the cookie.
	base, session string
	next          http.Handler
	// announce is told each new link's path.
	announce func(path string)

	mu   sync.Mutex
	link string // the path that lets in, once
}

func newGuard(next http.Handler, announce func(path string)) *guard {
	g := &guard{base: "/" + random(9), session: random(32), next: next, announce: announce}
	g.renew()
	return g
}

// random returns text of so many random bytes.
func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// renew makes a link, the one before is worth nothing any more.
func (g *guard) renew() {
	g.link = g.base + "/open/" + random(32)
	g.announce(g.link)
}

// spend tells whether path is the link; from then on another one is.
func (g *guard) spend(path string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if subtle.ConstantTimeCompare([]byte(path), []byte(g.link)) != 1 {
		return false
	}
	g.renew()
	return true
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if !local(r.Host) {
		http.Error(w, "this is no name of the dashboard", http.StatusMisdirectedRequest)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the dashboard only shows", http.StatusMethodNotAllowed)
		return
	}
	if r.Method == http.MethodGet && r.Header.Get("Sec-Purpose") == "" && g.spend(r.URL.Path) {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: g.session, Path: g.base + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, entry, g.base+"/")
		return
	}
	path, ours := strings.CutPrefix(r.URL.Path, g.base)
	if site := r.Header.Get("Sec-Fetch-Site"); !g.known(r) || site == "cross-site" || site == "same-site" {
		http.Error(w, "Open the link that supervisor dashboard has printed last. Each works once.", http.StatusUnauthorized)
		return
	}
	if !ours {
		http.NotFound(w, r)
		return
	}
	r.URL.Path = path
	g.next.ServeHTTP(w, r)
}

// known tells whether the request has the cookie.
func (g *guard) known(r *http.Request) bool {
	for _, c := range r.CookiesNamed(cookieName) {
		if subtle.ConstantTimeCompare([]byte(c.Value), []byte(g.session)) == 1 {
			return true
		}
	}
	return false
}

// local tells whether a Host header is of this machine by itself: a name that somebody else resolves to it is not.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}
