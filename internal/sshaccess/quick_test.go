package sshaccess

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// sshd holds the second of two small packets back until the first is acknowledged.
func TestAnswersInSmallPiecesDoNotWaitForEachOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetNoDelay(false)
		for ask := make([]byte, 1); ; {
			if _, err := io.ReadFull(conn, ask); err != nil {
				return
			}
			for range 2 {
				_, _ = conn.Write([]byte("small"))
			}
		}
	}()
	conn, err := dialTCP(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var took []time.Duration
	for range 41 {
		began := time.Now()
		_, _ = conn.Write([]byte("?"))
		if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	if slices.Sort(took); took[20] > 20*time.Millisecond {
		t.Errorf("the second half of an answer takes %v", took[20])
	}
}
