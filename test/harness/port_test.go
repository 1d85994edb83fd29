package harness

import (
	"fmt"
	"os"
	"testing"
)

// Between a look at a port and its use, no connection and no listener on port 0
// may get it.
func TestAFreePortIsNoneThatTheSystemGives(t *testing.T) {
	var first, last int
	if _, err := fmt.Sscan(string(Must(os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"))(t)), &first, &last); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if port := Must(FreePort())(t); port >= first && port <= last {
			t.Errorf("%d is one of %d to %d", port, first, last)
		}
	}
}
