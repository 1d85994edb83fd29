package sshaccess

import (
	"fmt"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Client is a connection to a server that has let us in.
type Client struct {
	*ssh.Client
	conn *heardConn
	// asked is the keepalive whose answer is still to come, or nil.
	mu    sync.Mutex
	asked *keepalive
	// ended is closed with the connection, when why says what ended it.
	ended chan struct{}
	why   error
}

// NewClient logs in on conn, which is the Client's from then on, and is closed where
// there is an error; see ssh.NewClientConn.
func NewClient(conn net.Conn, address string, config *ssh.ClientConfig) (*Client, error) {
	heard := &heardConn{Conn: conn}
	c, channels, requests, err := ssh.NewClientConn(heard, address, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	client := &Client{Client: ssh.NewClient(c, channels, requests), conn: heard, ended: make(chan struct{})}
	go func() {
		client.why = fmt.Errorf("the connection has ended: %w", client.Wait())
		close(client.ended)
	}()
	return client, nil
}

// heardConn tells when something was read from it.
type heardConn struct {
	net.Conn

	mu   sync.Mutex
	sign chan struct{} // nil: nobody waits
}

// Read implements net.Conn.
func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.hear()
	}
	return n, err
}

func (c *heardConn) hear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sign != nil {
		close(c.sign)
		c.sign = nil
	}
}

// next returns a channel that is closed when something is read from now on.
func (c *heardConn) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sign == nil {
		c.sign = make(chan struct{})
	}
	return c.sign
}
