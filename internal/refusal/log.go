// Package refusal logs the connections that a listener turned away: enough of them to see an attack, few enough that the
// attack fills no log.
package refusal

import (
	"bytes"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/klog/v2"
)

// Log is of one listener. Any goroutine may use it.
type Log struct {
	listener string
	limit    *rate.Limiter
	// missed is how many were not logged since the last that was.
	missed atomic.Int64
}

// burst lines are logged at once, then one a second.
const burst = 20

// New returns the Log of a listener that operators know by this name.
func New(listener string) *Log {
	return &Log{listener: listener, limit: rate.NewLimiter(rate.Every(time.Second), burst)}
}

// Refused logs that a peer was turned away. One that hung up by itself, such as a probe of the port, is logged from -v=1 on.
func (l *Log) Refused(peer string, why string) {
	if left(why) {
		klog.V(1).InfoS("A peer went away", "listener", l.listener, "peer", peer, "why", why)
		return
	}
	if !l.limit.Allow() {
		l.missed.Add(1)
		return
	}
	klog.InfoS("Turned a peer away", "listener", l.listener, "peer", peer, "why", why, "notLogged", l.missed.Swap(0))
}

// Write takes a line that net/http logs about a connection, as the writer of its ErrorLog.
func (l *Log) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if rest, found := strings.CutPrefix(text, "http: TLS handshake error from "); found {
		peer, why, _ := strings.Cut(rest, ": ")
		l.Refused(peer, why)
		return len(line), nil
	}
	klog.V(1).InfoS(text, "listener", l.listener)
	return len(line), nil
}

func left(why string) bool {
	for _, end := range []string{"EOF", "connection reset by peer", "broken pipe", "use of closed network connection"} {
		if strings.HasSuffix(why, end) {
			return true
		}
	}
	return false
}
