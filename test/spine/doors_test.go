package spine

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// certificates are all that the data directory has for clients, and for servers: below
// pki/, without .crt.
var certificates = []string{
	"internal/extensions-self", "internal/core-self", "internal/core-delegation", "internal/aggregator-self", "internal/aggregator-delegation",
	"internal/supervisor-self", "internal/supervisor-delegation",
	"internal/extensions-serving", "internal/core-serving", "internal/aggregator-serving",
	"etcd/extensions-client", "etcd/core-client", "etcd/aggregator-client", "etcd/supervisor-client", "etcd/server",
	"apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client",
}

func certificate(t *testing.T, c *harness.Cluster, name string) *harness.Pair {
	t.Helper()
	return harness.Must(harness.LoadPair(c.Path("pki", name+".crt"), c.Path("pki", name+".key")))(t)
}

// Each certificate there is, at each hop: extensions is not taken for the head, nor the
// head for the supervisor, and none is worth anything where it was not made for.
func TestEachCertificateOpensItsOwnDoors(t *testing.T) {
	c := harness.Shared(t)
	in := insideOf(t, c)
	opens := map[tier.Name][]string{
		tier.Extensions: {"internal/aggregator-delegation", "internal/core-delegation", "internal/extensions-self"},
		tier.Core:       {"internal/aggregator-delegation", "internal/aggregator-self", "internal/core-self", "internal/extensions-self"},
		tier.Aggregator: {"internal/supervisor-delegation", "internal/aggregator-self", "internal/core-self", "internal/extensions-self"},
	}
	for _, name := range certificates {
		pair := certificate(t, c, name)
		for at, allowed := range opens {
			got, err := get(t, in.tiers[at].Hop, in.config(at, pair), "/version", stamped(t))
			if slices.Contains(allowed, name) {
				if err != nil || got.Code != http.StatusOK {
					t.Errorf("%s at %s is refused: %s %v", name, at, got, err)
				}
			} else if err == nil {
				t.Errorf("%s at %s is answered: %s", name, at, got)
			}
		}
		e := c.EtcdAs(t, name)
		config := harness.Must(e.TLS())(t)
		conn, err := tls.Dial("tcp", strings.TrimPrefix(e.URL, "https://"), config)
		if err == nil {
			// TLS 1.3 tells a client that it is refused with the first read.
			_ = conn.SetReadDeadline(time.Now().Add(soon))
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if mine := strings.Contains(fmt.Sprint(err), "certificate"); mine == (strings.HasPrefix(name, "etcd/") && name != "etcd/server" || name == operator) {
			t.Errorf("%s at etcd: %v", name, err)
		}
	}
}

// What changes a process is the supervisor's to ask for, and whose a token is the head's.
func TestOnlyTheSupervisorChangesAProcess(t *testing.T) {
	c := harness.Shared(t)
	in := insideOf(t, c)
	for _, name := range certificates[:6] {
		pair := certificate(t, c, name)
		for at, where := range in.tiers {
			conn := harness.Must(grpc.NewClient("passthrough:///"+where.Handshake, grpc.WithTransportCredentials(credentials.NewTLS(in.config(at, pair)))))(t)
			calls := map[string]func() error{
				"Rewire": func() error {
					_, err := handshakev1.NewRewiringClient(conn).Rewire(t.Context(), &handshakev1.RewireRequest{})
					return err
				},
			}
			if name != "internal/supervisor-self" { // by whom this would happen
				calls["Leave"] = func() error {
					_, err := handshakev1.NewRewiringClient(conn).Leave(t.Context(), &handshakev1.LeaveRequest{})
					return err
				}
				if at == tier.Core {
					calls["Withdraw"] = func() error {
						_, err := handshakev1.NewWithdrawalClient(conn).Withdraw(t.Context(), &handshakev1.WithdrawRequest{})
						return err
					}
				}
			}
			if at == tier.Core && !strings.HasPrefix(name, "internal/aggregator") {
				calls["Authenticate"] = func() error {
					_, err := handshakev1.NewAuthenticatorClient(conn).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "x"})
					return err
				}
			}
			for call, do := range calls {
				got := status.Code(do())
				if may := name == "internal/supervisor-self" && call == "Rewire"; may && got != codes.OK || !may && got != codes.PermissionDenied {
					t.Errorf("%s has %s %s: %s", name, at, call, got)
				}
			}
			conn.Close()
		}
	}
}
