package spine

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"triptych.dev/triptych/internal/handshake/handshakev1"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// dial opens a gRPC connection to the handshake listener of a tier.
func (in *inside) dial(t *testing.T, to tier.Name, address, peer string) *grpc.ClientConn {
	t.Helper()
	conn := harness.Must(grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(in.config(to, in.forge(t, peer))))))(t)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Every process tells each stage that it has reached, and who it is.
func TestEveryTierTellsItsStages(t *testing.T) {
	c := harness.Shared(t)
	in := insideOf(t, c)
	now, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]bool{}
	incarnations := map[string]bool{}
	for name, at := range in.tiers {
		conn := in.dial(t, name, at.Handshake, "supervisor/self")
		for _, stage := range append([]tier.Stage{""}, tier.Stages...) {
			got, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: string(stage)})
			if want := stage != tier.Draining; err != nil || (got.Status == healthv1.HealthCheckResponse_SERVING) != want {
				t.Errorf("%s, stage %q: %v %v", name, stage, got, err)
			}
		}
		who := harness.Must(handshakev1.NewHandshakeClient(conn).Describe(t.Context(), &handshakev1.DescribeRequest{}))(t)
		if who.Tier != string(name) || who.Replica != string(name)+"-0" || int(who.Pid) != now.Replica(string(name)).PID ||
			who.Protocol < 1 || who.OldestProtocol > who.Protocol || who.Incarnation == "" {
			t.Errorf("%s says it is %v", name, who)
		}
		settings[who.SettingsHash], incarnations[who.Incarnation] = true, true
	}
	if len(settings) != 1 || len(incarnations) != 3 {
		t.Errorf("hashes of settings: %v, incarnations: %v", settings, incarnations)
	}
}

// Tokens are judged for the head, and for nobody else who could then try them.
func TestOnlyTheHeadMayAuthenticateTokens(t *testing.T) {
	in := insideOf(t, harness.Shared(t))
	ask := func(peer string) error {
		conn := in.dial(t, tier.Core, in.tiers[tier.Core].Handshake, peer)
		_, err := handshakev1.NewAuthenticatorClient(conn).Authenticate(t.Context(), &handshakev1.AuthenticateRequest{Token: "x"})
		return err
	}
	if err := ask("aggregator/self"); err != nil {
		t.Errorf("the head is refused: %v", err)
	}
	refusals := []codes.Code{codes.PermissionDenied, codes.Unauthenticated, codes.Unavailable}
	for _, peer := range []string{"extensions/self", "supervisor/self", "core/self", "stranger/self", "aggregator/other"} {
		if err := ask(peer); !slices.Contains(refusals, status.Code(err)) {
			t.Errorf("%s is answered: %v", peer, err)
		}
	}
}

// stagesOf watches a tier's stages until ctx ends, and sends each as it is
// reached.
func (in *inside) stagesOf(ctx context.Context, t *testing.T, name tier.Name, address string) <-chan tier.Stage {
	t.Helper()
	conn := in.dial(t, name, address, "supervisor/self")
	reached := make(chan tier.Stage, len(tier.Stages))
	for _, stage := range tier.Stages {
		go func() {
			stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{Service: string(stage)}, grpc.WaitForReady(true))
			for err == nil {
				var got *healthv1.HealthCheckResponse
				if got, err = stream.Recv(); err == nil && got.Status == healthv1.HealthCheckResponse_SERVING {
					reached <- stage
					return
				}
			}
		}()
	}
	return reached
}
