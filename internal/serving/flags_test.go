package serving

import (
	"testing"

	"github.com/spf13/pflag"
)

func TestFlagzShowsWhatUsersSayAndNotTheWiring(t *testing.T) {
	fs := pflag.NewFlagSet("core", pflag.ContinueOnError)
	fs.String("wiring", "/run/core-0.wiring.json", "")
	fs.String("etcd-prefix", "/registry", "")
	fs.String("secret", "s3cret", "")
	fs.Lookup("secret").Annotations = map[string][]string{"classified": {"true"}}
	got := shownFlags{fs}.GetFlagz()
	if _, shown := got["wiring"]; shown || got["etcd-prefix"] != "/registry" || got["secret"] != "CLASSIFIED" {
		t.Errorf("got %v", got)
	}
}
