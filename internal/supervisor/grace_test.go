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
		g := graceOf(t, c.args...)
		if got := g.Audit; got != c.want || g.inner() < g.Audit {
			t.Errorf("%v: %v within %v, want %v", c.args, got, g.inner(), c.want)
		}
	}
}

// So it is with a collector of traces that is away.
func TestTheLastSpansHaveTimeToReachTheCollector(t *testing.T) {
	without, with := graceOf(t), graceOf(t, "--tracing-config-file=/f")
	if more := with.inner() - without.inner(); more != 50*time.Second || with.head()-without.head() != more {
		t.Errorf("%v more than without tracing", more)
	}
}

func graceOf(t *testing.T, args ...string) Grace {
	t.Helper()
	o := options.New()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return (&setup{options: o}).grace()
}
