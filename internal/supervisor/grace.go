package supervisor

import "time"

const (
	// slack is what a tier may take beside its waits: pre-shutdown hooks, the
	// last audit events, the exit itself on a busy machine.
	slack = 10 * time.Second
	// etcdBudget is more than etcd's own bound on its graceful stop, 5 s, and
	// leaves time for a slow disk's last commit.
	etcdBudget = 20 * time.Second
)

// Grace holds the waits that an API server is allowed when it stops. From them
// follows when one that is still there is killed: never before it may have
// finished by its own rules.
type Grace struct {
	// Delay is --shutdown-delay-duration, which only the head is given.
	Delay time.Duration
	// Request is --request-timeout: how long requests in flight may last.
	Request time.Duration
	// Watch is --shutdown-watch-termination-grace-period: over how long watches
	// are ended.
	Watch time.Duration
	// Audit is how long the last events may take to reach the audit webhook.
	Audit time.Duration
	// Traces is how long the last spans may take to reach the collector.
	Traces time.Duration
}

// tracesGrace is how long OpenTelemetry tries to deliver spans to a collector that
// does not answer: the batch under way and a full queue of 2048 in batches of 512,
// each for its timeout.
const tracesGrace = (1 + 2048/512) * 10 * time.Second

// auditWebhookGrace is how long upstream tries to deliver events to a webhook that
// does not answer, which it has given initial as the first pause between its tries.
func auditWebhookGrace(initial time.Duration) time.Duration {
	const (
		tries   = 5
		timeout = 30 * time.Second // of a try
		factor  = 1.5              // from pause to pause
		jitter  = 1.2              // at most, of each pause
	)
	all, pause := tries*timeout, jitter*float64(initial)
	for range tries - 1 {
		all += time.Duration(pause)
		pause *= factor
	}
	return (all + time.Second - 1).Truncate(time.Second)
}

// head is the budget of the head: watches and requests are waited for one after
// the other, after the delay.
func (g Grace) head() time.Duration { return g.Delay + g.inner() }

// inner is the budget of the tiers behind it.
func (g Grace) inner() time.Duration { return g.Request + g.Watch + g.Audit + g.Traces + slack }
