package sshaccess

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

var nowhere = &net.TCPAddr{}

// buffered writes without waiting for the reader, as a socket does.
type buffered struct {
	net.Conn
	queue chan []byte
	ended chan struct{}
	once  sync.Once
}

func buffer(c net.Conn) *buffered {
	b := &buffered{Conn: c, queue: make(chan []byte, 1000), ended: make(chan struct{})}
	go func() {
		for {
			select {
			case chunk := <-b.queue:
				_, _ = c.Write(chunk)
			case <-b.ended:
				return
			}
		}
	}()
	return b
}

func (b *buffered) Write(p []byte) (int, error) {
	b.queue <- bytes.Clone(p)
	return len(p), nil
}

func (b *buffered) Close() error {
	b.once.Do(func() { close(b.ended) })
	return b.Conn.Close()
}

// pipe returns both ends of a connection that is logged in.
func pipe(t *testing.T) (*Client, *ssh.ServerConn, <-chan *ssh.Request) {
	t.Helper()
	key, _ := newKey(t)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	a, b := net.Pipe()
	here, there := buffer(a), buffer(b)
	type end struct {
		conn     *ssh.ServerConn
		requests <-chan *ssh.Request
	}
	served := make(chan end, 1)
	go func() {
		conn, channels, requests, err := ssh.NewServerConn(there, config)
		if err != nil {
			there.Close()
		}
		served <- end{conn, requests}
		for range channels {
			panic("no channel was asked for")
		}
	}()
	client, err := NewClient(here, "node:22", &ssh.ClientConfig{User: "ops", HostKeyCallback: ssh.FixedHostKey(signer.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	server := <-served
	return client, server.conn, server.requests
}

func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, requests := pipe(t)
		began := time.Now()
		err := client.Attend(context.Background())
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "does not answer") || took != keepaliveEvery+keepaliveAnswer {
			t.Errorf("%v after %v", err, took)
		}
		server.Close()
		for range requests {
		}
	})
}

func TestAServerThatRefusesKeepalivesIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, requests := pipe(t)
		asked := atomic.Int64{}
		go func() {
			for r := range requests {
				asked.Add(1)
				_ = r.Reply(false, nil)
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := client.Attend(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		server.Close()
		if n, want := asked.Load(), int64(time.Hour/keepaliveEvery); n < want-1 || n > want {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

// What it sends may be more than the way to here holds: its answers are behind that.
func TestAServerThatIsBusySendingIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server, requests := pipe(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		var sending sync.WaitGroup
		sending.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = server.SendRequest("no-answer-wanted", false, nil)
				time.Sleep(keepaliveAnswer / 2)
			}
		})
		if err := client.Attend(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		sending.Wait()
		server.Close()
		for range requests {
		}
	})
}
