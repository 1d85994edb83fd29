package sshaccess

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// server lets in who has the key, and connects where it is asked to.
type server struct {
	address string
	hostKey ssh.PublicKey

	mu    sync.Mutex
	conns []net.Conn
	asked []string
}

func serve(t *testing.T, address string, letsIn ssh.PublicKey) *server {
	t.Helper()
	private, hostKey := newKey(t)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), letsIn.Marshal()) {
			return nil, errors.New("not you")
		}
		return nil, nil
	}}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: l.Addr().String(), hostKey: hostKey}
	t.Cleanup(func() { l.Close(); s.drop() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			go s.handle(conn, config)
		}
	}()
	return s
}

// drop ends every connection.
func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

func (s *server) handle(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		var to struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}
		_ = ssh.Unmarshal(channel.ExtraData(), &to)
		address := net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port)))
		s.mu.Lock()
		s.asked = append(s.asked, address)
		s.mu.Unlock()
		there, err := net.Dial("tcp", address)
		if err != nil {
			_ = channel.Reject(ssh.ConnectionFailed, err.Error())
			continue
		}
		here, more, err := channel.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(more)
		go func() { _, _ = io.Copy(there, here); there.Close() }()
		go func() { _, _ = io.Copy(here, there); here.Close() }()
	}
}

// landscape is a node behind a bastion, and the access to both.
func landscape(t *testing.T) (node, bastion *server, a *Access) {
	t.Helper()
	a = &Access{User: "ops", KeyFile: t.TempDir() + "/ssh.key"}
	if _, err := EnsureKey(a.KeyFile); err != nil {
		t.Fatal(err)
	}
	signer, err := ReadKey(a.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	node, bastion = serve(t, "127.0.0.2:0", signer.PublicKey()), serve(t, "127.0.0.1:0", signer.PublicKey())
	_, port, _ := net.SplitHostPort(node.address)
	a.Port, _ = strconv.Atoi(port)
	a.Bastion = "jump@" + bastion.address
	a.KnownHostsFile = file(t, knownhosts.Line([]string{node.address}, node.hostKey)+"\n"+knownhosts.Line([]string{bastion.address}, bastion.hostKey)+"\n", 0o644)
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	return node, bastion, a
}

func TestNodesAreReachedThroughOneConnectionToTheBastion(t *testing.T) {
	node, bastion, a := landscape(t)
	r := NewRoute(a)
	defer r.Close()
	for range 3 {
		client, err := r.Connect(t.Context(), "127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
	}
	bastion.mu.Lock()
	if len(bastion.conns) != 1 || len(bastion.asked) != 3 || bastion.asked[0] != node.address {
		t.Errorf("%d connections, asked for %q", len(bastion.conns), bastion.asked)
	}
	bastion.mu.Unlock()
	// A bastion that was lost is connected to again.
	bastion.drop()
	for deadline := time.Now().Add(10 * time.Second); ; {
		client, err := r.Connect(t.Context(), "127.0.0.2")
		if err == nil {
			client.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestWhoIsNotLetInOrNotBelievedSaysSo(t *testing.T) {
	_, bastion, a := landscape(t)
	connect := func(change func(*Access)) error {
		b := *a
		change(&b)
		r := NewRoute(&b)
		defer r.Close()
		client, err := r.Connect(t.Context(), "127.0.0.2")
		if err == nil {
			client.Close()
		}
		return err
	}
	other := t.TempDir() + "/ssh.key"
	if _, err := EnsureKey(other); err != nil {
		t.Fatal(err)
	}
	refused := (*RefusedError)(nil)
	if err := connect(func(a *Access) { a.KeyFile = other }); !errors.As(err, &refused) || refused.User != "jump" || refused.Address != bastion.address {
		t.Errorf("another key at the bastion: %v", err)
	}
	if err := connect(func(a *Access) { a.KeyFile, a.Bastion = other, "" }); !errors.As(err, &refused) || refused.User != "ops" {
		t.Errorf("another key at the node: %v", err)
	}
	_, stranger := newKey(t)
	known := file(t, knownhosts.Line([]string{"[127.0.0.2]:" + strconv.Itoa(a.Port)}, stranger)+"\n", 0o644)
	if err := connect(func(a *Access) { a.KnownHostsFile, a.Bastion = known, "" }); !errors.As(err, new(*HostKeyError)) || !strings.Contains(err.Error(), "somebody may be in between") {
		t.Errorf("another host key: %v", err)
	}
	if err := connect(func(a *Access) { a.Bastion = "127.0.0.1:1" }); err == nil || !strings.Contains(err.Error(), "bastion") {
		t.Errorf("no bastion: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewRoute(a).Connect(ctx, "127.0.0.2"); err == nil {
		t.Error("connects after the end")
	}
}
