package refusal

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// logged returns what f has logged at the default verbosity.
func logged(t *testing.T, f func()) string {
	t.Helper()
	var out bytes.Buffer
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	klog.SetOutput(&out)
	f()
	klog.Flush()
	klog.SetOutput(io.Discard)
	return out.String()
}

func TestAPeerThatWasTurnedAwayIsLogged(t *testing.T) {
	l := New("core's hop")
	got := logged(t, func() {
		log.New(l, "", 0).Println("http: TLS handshake error from 127.0.0.1:1: tls: client didn't provide a certificate")
		log.New(l, "", 0).Println("http: TLS handshake error from 127.0.0.1:2: EOF")
	})
	for _, want := range []string{"core's hop", "127.0.0.1:1", "didn't provide a certificate"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if strings.Contains(got, "127.0.0.1:2") {
		t.Errorf("a probe of the port is logged: %s", got)
	}
}

func TestAFloodFillsNoLog(t *testing.T) {
	l := New("core's hop")
	got := logged(t, func() {
		for i := range 10_000 {
			l.Refused(fmt.Sprint("peer-", i), "bad certificate")
		}
	})
	// The time that this takes lets a line more or two through.
	if n := strings.Count(got, "\n"); n < burst || n > 2*burst {
		t.Errorf("%d lines", n)
	}
	if l.missed.Load() == 0 {
		t.Error("nobody counts what was not logged")
	}
}
