package insecure

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// meant returns an error unless whoever sent the request knew that it goes to
// this machine. A browser runs other people's programs and reaches loopback: a
// foreign name may be made to resolve to it (DNS rebinding), which Host tells,
// and a foreign page may send to it, which Origin tells. For simple GETs, as of
// an image, browsers send no Origin, but Sec-Fetch-Site.
func meant(r *http.Request) error {
	if !isLocal(r.Host) {
		return fmt.Errorf("Host %q is not this machine: the insecure port is to be called localhost, or by a loopback address", r.Host)
	}
	origins := r.Header["Origin"]
	for _, origin := range origins {
		if !isLocalOrigin(origin) {
			return fmt.Errorf("Origin %q is not this machine: the insecure port is not for other people's web pages", origin)
		}
	}
	if len(origins) == 0 && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return errors.New("the request comes from a web page of another site: the insecure port is not for other people's web pages")
	}
	return nil
}

// isLocal tells whether host, with or without a port, is localhost or a loopback
// address. No other name is, whatever it resolves to now.
func isLocal(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}

// isLocalOrigin refuses "null" as well, which is what sandboxed pages say.
func isLocalOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLocal(u.Host)
}
