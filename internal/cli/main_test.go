package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"triptych.dev/triptych/internal/cli"
	"triptych.dev/triptych/internal/tier"
)

// TestMain makes this binary all four programs: by the name it is called by it
// is a fake tier or the supervisor, which runs itself again for etcd.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if _, err := tier.Parse(name); err == nil {
		os.Exit(fakeTier(tier.Name(name)))
	}
	if name == "supervisor" || len(os.Args) > 1 && os.Args[1] == "etcd" {
		os.Exit(cli.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}
