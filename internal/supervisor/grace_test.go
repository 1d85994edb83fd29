package supervisor

import (
	"testing"
	"time"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/supervisor/options"
)

// A tier that waits for the audit webhook is not killed before it has given up, and
// nobody waits longer for want of one.
func TestTheLastAuditEventsHaveTimeToReachTheWebhook(t *testing.T) {
	for _, c := range []struct {
		args []string
		want time.Duration
	}{
		{nil, 0},
		{[]string{"--audit-webhook-initial-backoff=1s"}, 0},
		{[]string{"--audit-webhook-config-file=/f"}, 248 * time.Second},
		{[]string{"--audit-webhook-config-file=/f", "--audit-webhook-initial-backoff=1s"}, 160 * time.Second},
		{[]string{"--audit-webhook-config-file=/f", "--audit-webhook-batch-initial-backoff=20s"}, 345 * time.Second},
	} {
		o := options.New()
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		o.AddFlags(fs)
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		g := (&setup{options: o}).grace()
		if got := g.Audit; got != c.want || g.inner() < g.Audit {
			t.Errorf("%v: %v within %v, want %v", c.args, got, g.inner(), c.want)
		}
	}
}
