package spine

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// bearerProtocol is how browsers, which cannot set headers of a WebSocket, show
// a token.
const bearerProtocol = "base64url.bearer.authorization.k8s.io."

// upgrade asks for a WebSocket with these subprotocols and returns the answer;
// the body only if there is no WebSocket.
func upgrade(t *testing.T, api *harness.API, path string, protocols ...string) harness.Answer {
	t.Helper()
	config := api.Anonymous(t)
	host := harness.Must(url.Parse(config.Host))(t)
	conn := harness.Must(tls.Dial("tcp", host.Host, &tls.Config{
		RootCAs: harness.PoolOf(t, config.CAData), ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"},
	}))(t)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(soon))
	req := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host+path, nil))(t)
	req.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {config.Host},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	if len(protocols) > 0 {
		req.Header["Sec-Websocket-Protocol"] = protocols
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	resp := harness.Must(http.ReadResponse(bufio.NewReader(conn), req))(t)
	answer := harness.Answer{Code: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		answer.Body = harness.Must(io.ReadAll(resp.Body))(t)
	}
	return answer
}

func (p *pairOfBearers) sameWebSockets(t *testing.T) {
	watches := map[string]string{
		"core":       "/api/v1/namespaces?watch=true",
		"extensions": gadgetsPath(tokensGroup) + "?watch=true",
		"aggregator": "/apis/apiregistration.k8s.io/v1/apiservices?watch=true",
	}
	encode := func(token string) string { return bearerProtocol + base64.RawURLEncoding.EncodeToString([]byte(token)) }
	for what, c := range map[string]struct {
		kind string
		// shown are the subprotocols of a request with a token.
		shown func(token string) []string
		want  int
	}{
		"good":                 {"admin", func(s string) []string { return []string{encode(s), "base64.binary.k8s.io"} }, 101},
		"good, in one header":  {"admin", func(s string) []string { return []string{"base64.binary.k8s.io, " + encode(s)} }, 101},
		"of nobody of rank":    {"bound", func(s string) []string { return []string{encode(s), "base64.binary.k8s.io"} }, 403},
		"legacy":               {"legacy, made", func(s string) []string { return []string{encode(s), "base64.binary.k8s.io"} }, 403},
		"alone":                {"admin", func(s string) []string { return []string{encode(s)} }, 401},
		"twice":                {"admin", func(s string) []string { return []string{encode(s), encode(s), "base64.binary.k8s.io"} }, 401},
		"badly encoded":        {"admin", func(s string) []string { return []string{bearerProtocol + "***", "base64.binary.k8s.io"} }, 401},
		"not UTF-8":            {"admin", func(s string) []string { return []string{encode("\xff\xfe"), "base64.binary.k8s.io"} }, 401},
		"with blanks":          {"admin", func(s string) []string { return []string{encode(" " + s), "base64.binary.k8s.io"} }, 401},
		"blank":                {"admin", func(s string) []string { return []string{encode(" "), "base64.binary.k8s.io"} }, 401},
		"empty":                {"admin", func(s string) []string { return []string{encode(""), "base64.binary.k8s.io"} }, 401},
		"for another audience": {"bad: for another audience", func(s string) []string { return []string{encode(s), "base64.binary.k8s.io"} }, 401},
		"none":                 {"admin", func(s string) []string { return nil }, 401},
	} {
		for tier, path := range watches {
			answers := map[string]string{}
			for name, side := range p.sides() {
				got := upgrade(t, side.API, path, c.shown(side.tokens[c.kind])...)
				if got.Code != c.want {
					t.Errorf("%s, %s: %s answers %s", what, tier, name, got)
				}
				if got.Code == http.StatusSwitchingProtocols {
					// How connections are handed over is not about tokens.
					got.Header = http.Header{"Protocol": got.Header.Values("Sec-Websocket-Protocol")}
				}
				answers[name] = comparable(got)
			}
			if diff := cmp.Diff(answers["stock"], answers["ours"]); diff != "" {
				t.Errorf("%s, %s: not what stock answers (-stock +ours):\n%s", what, tier, diff)
			}
		}
	}
}
