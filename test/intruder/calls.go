package intruder

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/authentication/user"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// What refuses an attempt whatever the isolation.
const (
	byCertificates = "certificates"
	byEtcd         = "rights in etcd"
	byRights       = "rights in the API"
)

// patience is more than a call takes that is answered.
const patience = 20 * time.Second

// errUnsure: nobody has said no.
var errUnsure = errors.New("it came to nothing")

// errTurnedAway is what somebody has said.
var errTurnedAway = errors.New("turned away")

// attempts are gathered one by one.
type attempts []Attempt

// add takes one that by refuses, or that works where that is empty.
func (t *attempts) add(by, what string, try func(*Place) error) {
	*t = append(*t, Attempt{Name: what, Try: try, By: by, Works: by == ""})
}

// calls are what to try at the listeners of other tiers, and at the secure port.
func calls(name tier.Name) []Attempt {
	var all attempts
	all.impersonate(name)
	all.speak(name)
	if name != tier.Aggregator {
		all.knock(name)
	}
	return all
}

// impersonate are calls as somebody else, at each of the other tiers.
func (t *attempts) impersonate(name tier.Name) {
	for _, to := range tier.Order {
		if to == name {
			continue
		}
		at := string(to)
		t.add(byCertificates, "call "+at+" without a certificate", func(p *Place) error { return p.hop(to, nil, masters(), "GET", "/api/v1/secrets", "") })
		for _, who := range []identity.Peer{{Name: identity.Supervisor, Role: identity.Delegation}, {Name: tier.Aggregator, Role: identity.Delegation}, {Name: tier.Core, Role: identity.Self}} {
			t.add(byCertificates, fmt.Sprintf("call %s as %s, by a certificate of its own making", at, who), func(p *Place) error {
				return p.hop(to, made(who), masters(), "GET", "/api/v1/secrets", "")
			})
		}
		for _, pair := range []string{"its serving certificate", "its certificate for etcd"} {
			t.add(byCertificates, "call "+at+" by "+pair, func(p *Place) error { return p.hop(to, p.pair(pair), masters(), "GET", "/api/v1/secrets", "") })
		}
		t.add(byCertificates, "have "+at+" read its wiring again, as the supervisor does", func(p *Place) error {
			return p.ask(to, func(ctx context.Context, conn *grpc.ClientConn) error {
				_, err := handshakev1.NewRewiringClient(conn).Rewire(ctx, &handshakev1.RewireRequest{})
				return err
			})
		})
		t.add(byCertificates, "have "+at+" leave, as the supervisor does", func(p *Place) error {
			return p.ask(to, func(ctx context.Context, conn *grpc.ClientConn) error {
				_, err := handshakev1.NewRewiringClient(conn).Leave(ctx, &handshakev1.LeaveRequest{})
				return err
			})
		})
	}
}

// speak are calls by what a tier was handed: as itself, and for users.
func (t *attempts) speak(name tier.Name) {
	self := func(to tier.Name, path string) func(*Place) error {
		return func(p *Place) error { return p.hop(to, p.pair("self"), masters(), "GET", path, "") }
	}
	speak := func(to tier.Name, method, path, body string) func(*Place) error {
		return func(p *Place) error { return p.hop(to, p.pair("delegation"), masters(), method, path, body) }
	}
	switch name {
	case tier.Extensions:
		t.add("", "ask core as itself", self(tier.Core, "/version"))
		t.add("", "ask aggregator as itself", self(tier.Aggregator, "/version"))
		t.add(byRights, "read Secrets at core, saying that it is an administrator", self(tier.Core, "/api/v1/secrets"))
		t.add(byRights, "read Secrets at aggregator, saying that it is an administrator", self(tier.Aggregator, "/api/v1/secrets"))
	case tier.Core:
		t.add("", "ask aggregator as itself", self(tier.Aggregator, "/version"))
		t.add("", "speak for others to extensions", speak(tier.Extensions, "GET", "/version", ""))
		t.add(byCertificates, "ask extensions as itself", self(tier.Extensions, "/version"))
		t.add(byCertificates, "speak for others to aggregator", speak(tier.Aggregator, "GET", "/api/v1/secrets", ""))
	case tier.Aggregator:
		t.add("", "ask core as itself", self(tier.Core, "/version"))
		t.add("", "speak for others to extensions", speak(tier.Extensions, "GET", "/version", ""))
		t.add(byCertificates, "ask extensions as itself", self(tier.Extensions, "/version"))
		t.add(byRights, "read Secrets at core, saying that it is an administrator", self(tier.Core, "/api/v1/secrets"))
		t.add("", "read Secrets at core, speaking for an administrator", speak(tier.Core, "GET", "/api/v1/secrets", ""))
		t.add("", "have core make a token, speaking for an administrator", speak(tier.Core, "POST", "/api/v1/namespaces/default/serviceaccounts/"+Account+"/token",
			`{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}`))
		t.add(byCertificates, "have core take a token of its own making for good", func(p *Place) error {
			return p.ask(tier.Core, func(ctx context.Context, conn *grpc.ClientConn) error {
				got, err := handshakev1.NewAuthenticatorClient(conn).Authenticate(ctx, &handshakev1.AuthenticateRequest{Token: forgedToken})
				if err == nil && got.GetUser() == nil {
					return errTurnedAway
				}
				return err
			})
		})
	}
}

// knock are calls as a client of what the head alone is asked by tiers, and of the secure port.
func (t *attempts) knock(name tier.Name) {
	t.add(byCertificates, "ask whose a token is, as the head does", func(p *Place) error {
		if p.Tier == tier.Core { // which is who is asked: the head answers no such question
			return p.ask(tier.Aggregator, authenticate)
		}
		return p.ask(tier.Core, authenticate)
	})
	with := map[string]http.Header{
		"by its certificate for other tiers": nil, "by a token of its own making": {"Authorization": {"Bearer " + forgedToken}}, "by a header of other tiers": masters(),
	}
	if name == tier.Core { // which judges tokens: without it the head does not know
		delete(with, "by a token of its own making")
	}
	for _, what := range slices.Sorted(maps.Keys(with)) {
		t.add(byCertificates, "read Secrets at the secure port "+what, func(p *Place) error {
			return p.send(p.is.PublicAddress, &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.pair("self"), nil }}, with[what], "GET", "/api/v1/secrets", "")
		})
	}
}

func authenticate(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := handshakev1.NewAuthenticatorClient(conn).Authenticate(ctx, &handshakev1.AuthenticateRequest{Token: forgedToken})
	return err
}

// forgedToken says that it is of the service account default, signed by nobody.
const forgedToken = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMiLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpkZWZhdWx0In0.eA"

// Account is a service account of the namespace default.
const Account = "of-the-intruder"

// masters is the header of a request for an administrator.
func masters() http.Header {
	h := http.Header{}
	who := &user.DefaultInfo{Name: "intruder", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	if err := identity.Stamp(h, identity.Identity{User: who, ClientAddress: "192.0.2.1:1", ReceivedAt: time.Now()}); err != nil {
		panic(err)
	}
	return h
}

// pair is one of the key pairs that the process was handed.
func (p *Place) pair(which string) *tls.Certificate {
	of := p.is.PKI.Self
	switch which {
	case "delegation":
		of = p.is.PKI.Delegation
	case "its serving certificate":
		of = p.is.PKI.Serving
	case "its certificate for etcd":
		of.Cert, of.Key = argument("etcd-certfile"), argument("etcd-keyfile")
	}
	pair, err := tls.LoadX509KeyPair(of.Cert, of.Key)
	if err != nil {
		panic(err)
	}
	return &pair
}

// made is a certificate that says it is the peer's.
func made(who identity.Peer) *tls.Certificate { return signed(string(who.Name), who) }

func signed(commonName string, who identity.Peer) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	is := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	is.URIs = append(is.URIs, who.URI())
	der, err := x509.CreateCertificate(rand.Reader, is, is, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// config is how to call a tier. It shows the certificate whichever CAs the server names.
func (p *Place) config(to tier.Name, pair *tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	bundle, err := os.ReadFile(p.is.PKI.CA)
	if err != nil || !roots.AppendCertsFromPEM(bundle) {
		panic(err)
	}
	c := &tls.Config{RootCAs: roots, ServerName: identity.ServerName(to)}
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return c
}

func (p *Place) hop(to tier.Name, pair *tls.Certificate, header http.Header, method, path, body string) error {
	return p.send(p.is.Tiers[to][0].Hop, p.config(to, pair), header, method, path, body)
}

// send returns nil if the answer is no refusal.
func (p *Place) send(address string, config *tls.Config, header http.Header, method, path, body string) error {
	r, err := http.NewRequest(method, "https://"+address+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	if header != nil {
		r.Header = header.Clone()
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(r)
	if err != nil {
		return refusal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %d", errTurnedAway, resp.StatusCode)
	}
	return fmt.Errorf("%w: %d %s", errUnsure, resp.StatusCode, said)
}

// refusal tells an alert of TLS, and the end of the connection behind a handshake, from nobody being there.
func refusal(err error) error {
	for _, word := range []string{"remote error: tls", "EOF", "connection reset", "broken pipe", "use of closed"} {
		if strings.Contains(err.Error(), word) {
			return fmt.Errorf("%w by TLS", errTurnedAway)
		}
	}
	return fmt.Errorf("%w: %v", errUnsure, err)
}

// ask asks something of a tier's handshake as itself, where it is let in.
func (p *Place) ask(to tier.Name, f func(context.Context, *grpc.ClientConn) error) error {
	conn, err := grpc.NewClient("passthrough:///"+p.is.Tiers[to][0].Handshake, grpc.WithNoProxy(),
		grpc.WithTransportCredentials(credentials.NewTLS(p.config(to, p.pair("self")))))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = f(ctx, conn)
	switch status.Code(err) {
	case codes.OK, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return err
	}
	if errors.Is(err, errTurnedAway) {
		return err
	}
	return fmt.Errorf("%w: %v", errUnsure, err)
}

// let tells whether a server lets the connection in. By TLS 1.3 a client learns that from what it reads first.
func let(address string, config *tls.Config) error {
	config.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return refusal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Read(make([]byte, 1)); err != nil {
		return refusal(err)
	}
	return nil
}
