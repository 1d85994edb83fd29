package process

import (
	"strings"
	"testing"
)

// Field managers are named after it: under another name than stock's, two
// managers would own the same fields after a way back.
func TestOwnCallsAreKubeAPIServers(t *testing.T) {
	if got := userAgent(); !strings.HasPrefix(got, "kube-apiserver/") || strings.Count(got, "kube-apiserver") != 1 {
		t.Errorf("the user agent is %q", got)
	}
}
