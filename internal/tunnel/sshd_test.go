package tunnel

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"triptych.dev/triptych/internal/sshaccess"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sshd is an SSH server whose connections are all to itself: whoever dials through
// it is told the server's name and the address, and then hears himself.
type sshd struct {
	name    string
	address string // where it listens
	config  *ssh.ServerConfig

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	logins   int
	refusing bool // no connections to anywhere
	hangs    bool // answers nothing on the connections it has, nor serves new ones
	unserved int  // connections to elsewhere that were asked for meanwhile
}

func startSSHD(t *testing.T, name string) *sshd {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{name: name, address: "127.0.0.1:0", config: &ssh.ServerConfig{NoClientAuth: true}, conns: map[net.Conn]bool{}}
	s.config.AddHostKey(signer)
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

func (s *sshd) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.listener, s.address = l, l.Addr().String()
	s.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			go s.serve(conn)
		}
	}()
}

// stop ends the server and its connections, as a kill does.
func (s *sshd) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
	clear(s.conns)
}

func (s *sshd) serve(conn net.Conn) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	defer server.Close()
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	go s.answer(requests)
	for channel := range channels {
		var target struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}
		if s.isHung() {
			continue
		}
		if err := ssh.Unmarshal(channel.ExtraData(), &target); err != nil || s.refuses() {
			_ = channel.Reject(ssh.ConnectionFailed, "Connection refused")
			continue
		}
		accepted, more, err := channel.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(more)
		go func() {
			defer accepted.Close()
			fmt.Fprintf(accepted, "%s %s:%d\n", s.name, target.Host, target.Port)
			_, _ = io.Copy(accepted, accepted)
		}()
	}
}

// answer refuses requests, as sshd does those for signs of life.
func (s *sshd) answer(requests <-chan *ssh.Request) {
	for r := range requests {
		s.mu.Lock()
		hangs := s.hangs
		s.mu.Unlock()
		if !hangs {
			_ = r.Reply(false, nil)
		}
	}
}

// isHung counts who is not served.
func (s *sshd) isHung() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hangs {
		s.unserved++
	}
	return s.hangs
}

func (s *sshd) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = true
}

func (s *sshd) refuses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}

func (s *sshd) loggedIn() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// fleet logs in to servers by the host that is asked for.
type fleet struct {
	mu sync.Mutex
	by map[string]*sshd
}

func (f *fleet) connect(ctx context.Context, host string) (*sshaccess.Client, error) {
	f.mu.Lock()
	s := f.by[host]
	f.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("no such host: %s", host)
	}
	s.mu.Lock()
	address := s.address
	s.mu.Unlock()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	return sshaccess.NewClient(conn, address, &ssh.ClientConfig{
		User: "test", HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: time.Second,
	})
}

// keep starts a Keeper that the test ends.
func keep(t *testing.T, f *fleet, nodes ...Node) *Keeper {
	t.Helper()
	k := New(f.connect)
	t.Cleanup(k.Close)
	k.Sync(nodes)
	return k
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}
