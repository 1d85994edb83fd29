package etcd

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"triptych.dev/triptych/internal/process"
)

// socket listens and returns the URL; what connects waits.
func socket(t *testing.T) (url string, l net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String(), l
}

// answering is a server that refuses everything: a sign of life.
func answering(t *testing.T) string {
	t.Helper()
	url, l := socket(t)
	s := grpc.NewServer()
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return url
}

// Members that are switched off must not use up the time of those that answer.
func TestOneServerThatAnswersIsEnough(t *testing.T) {
	one, _ := socket(t)
	two, _ := socket(t)
	began := time.Now()
	if err := (Remote{Servers: []string{one, two, answering(t)}}).Reach(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > probeTimeout {
		t.Errorf("it took %v: the silent ones were waited for", took)
	}
}

func TestWhatWaitingCannotMendIsTheUsersMistake(t *testing.T) {
	for text, c := range map[string]struct {
		server, hint string
		mistake      bool
	}{
		"dial tcp: connection refused":                              {"https://h:1", "start it", false},
		"tls: first record does not look like a TLS handshake":      {"https://h:1", "http://", true},
		"x509: certificate signed by unknown authority":             {"https://h:1", "--etcd-cafile", true},
		"remote error: tls: certificate required":                   {"https://h:1", "--etcd-certfile", true},
		"x509: certificate has expired or is not yet valid: now is": {"https://h:1", "clock", false},
		"error reading server preface: EOF":                         {"http://h:1", "https://", false},
	} {
		hint, mistake := advice(errors.New(text), c.server, "etcd")
		if !strings.Contains(hint, c.hint) || mistake != c.mistake {
			t.Errorf("%s: %q, mistake %v", text, hint, mistake)
		}
	}
	refused, l := socket(t)
	l.Close()
	err := Remote{Servers: []string{refused, "https://" + strings.TrimPrefix(answering(t), "http://")}}.round(t.Context())
	if err == nil || errors.As(err, &process.ConfigurationError{}) {
		t.Errorf("one is away, and may come back: %v", err)
	}
	err = Remote{Servers: []string{"https://" + strings.TrimPrefix(answering(t), "http://")}}.round(t.Context())
	if !errors.As(err, &process.ConfigurationError{}) {
		t.Errorf("https:// for a server without TLS: %v", err)
	}
}

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
