package diff

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// patience bounds what servers do in their own time, on a busy machine.
const patience = 60 * time.Second

// side is one of the two servers.
type side struct {
	*harness.API
	name string
	// ca signs client certificates.
	ca *harness.Pair
	// hook stands in for every webhook.
	hook *harness.Webhook
	// values are what later steps may use.
	values  map[string]string
	clients map[string]*http.Client
	// names are those of flow schemas and priority levels by their UIDs.
	names map[string]string
}

func newSide(t *testing.T, name string, api *harness.API, dir string) *side {
	t.Helper()
	return &side{
		API: api, name: name, hook: harness.StartWebhook(t), clients: map[string]*http.Client{},
		ca: harness.Must(harness.LoadPair(dir+"/pki/ca.crt", dir+"/pki/ca.key"))(t),
	}
}

// config is of whoever as names.
func (s *side) config(t *testing.T, as string) *rest.Config {
	t.Helper()
	switch as {
	case "":
		return s.Config(t)
	case "nobody":
		return s.Anonymous(t)
	}
	user, groups, _ := strings.Cut(as, ":")
	leaf := harness.Leaf{CommonName: user, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if groups != "" {
		leaf.Organization = strings.Split(groups, ",")
	}
	return s.ConfigFor(t, harness.Must(s.ca.Issue(leaf))(t))
}

// client keeps connections, as clients do. It repeats, follows and unpacks nothing.
func (s *side) client(t *testing.T, as string, http1 bool) *http.Client {
	t.Helper()
	key := fmt.Sprint(as, http1)
	if s.clients[key] == nil {
		config := harness.Must(rest.TLSConfigFor(s.config(t, as)))(t)
		transport := &http.Transport{TLSClientConfig: config, DisableCompression: true, ForceAttemptHTTP2: !http1}
		if http1 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			config.NextProtos = []string{"http/1.1"}
		}
		s.clients[key] = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		t.Cleanup(transport.CloseIdleConnections)
	}
	return s.clients[key]
}

// response is an answer that was read to its end.
type response struct {
	*http.Response
	body []byte
	// err is what ended the body early.
	err error
}

// send sends the step, filled, once.
func (s *side) send(t *testing.T, st step) response {
	t.Helper()
	_, method, target := st.parts()
	base := harness.Must(url.Parse(s.Config(t).Host))(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r := harness.Must(http.NewRequestWithContext(ctx, method, base.String(), strings.NewReader(st.body)))(t)
	path, query, _ := strings.Cut(target, "?")
	r.URL = &url.URL{
		Scheme: base.Scheme, Host: base.Host, Path: harness.Must(url.PathUnescape(path))(t), RawPath: path,
		RawQuery: query, ForceQuery: strings.HasSuffix(target, "?"),
	}
	if st.body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else if !st.has("Content-Type") {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "diff")
	for _, line := range st.head {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header[http.CanonicalHeaderKey(name)] = append(r.Header[http.CanonicalHeaderKey(name)], value)
	}
	resp, err := s.client(t, st.as, st.http1).Do(r)
	if err != nil {
		return response{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return response{Response: resp, body: body, err: err}
}

// learn reads the names behind the UIDs that answers carry.
func (s *side) learn(t *testing.T) {
	t.Helper()
	s.names = map[string]string{}
	for _, resource := range []string{"flowschemas", "prioritylevelconfigurations"} {
		var list struct {
			Items []struct{ Metadata struct{ UID, Name string } }
		}
		s.Get(t, "/apis/flowcontrol.apiserver.k8s.io/v1/"+resource).Into(t, &list)
		for _, item := range list.Items {
			s.names[item.Metadata.UID] = item.Metadata.Name
		}
	}
}
