package etcd

import (
	"net"
	"strings"
	"testing"
	"time"
)

// The last round ends with the time that is left for it, and so knows less than
// the rounds before.
func TestReachTellsWhatAWholeRoundFound(t *testing.T) {
	defer func(d time.Duration) { reachTimeout = d }(reachTimeout)
	reachTimeout = time.Second
	server, err := listenPlainly("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan net.Conn, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			if first {
				conn.Close()
			} else {
				held <- conn
			}
		}
	}()
	defer func() {
		server.Close()
		<-done
		close(held)
		for conn := range held {
			conn.Close()
		}
	}()
	err = Remote{Servers: []string{"http://" + server.Addr().String()}}.Reach(t.Context())
	if err == nil || strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the first round met a connection that was closed, told is: %v", err)
	}
}
