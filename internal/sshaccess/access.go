// Package sshaccess is what it takes to log in to nodes by SSH: a user, a key, the
// host keys that are believed, and a bastion where nodes are not reached directly.
// Files are read for every login, so that a new key or a new node's host key needs
// no restart.
package sshaccess

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// DefaultPort is where nodes' sshd listens unless told otherwise.
const DefaultPort = 22

// Access says as whom to log in to nodes, and by which way.
type Access struct {
	// User exists on every node. Empty is no SSH at all.
	User string
	// KeyFile holds the private key, KnownHostsFile the host keys in OpenSSH's format.
	KeyFile, KnownHostsFile string
	// Bastion is USER@HOST:PORT; user and port may be left out. Empty is none.
	Bastion string
	// Port is that of every node's sshd.
	Port int
}

// Check returns what is wrong with the settings and files, without asking anybody.
func (a *Access) Check() error {
	if err := a.CheckButKey(); err != nil || a.User == "" {
		return err
	}
	if a.KeyFile == "" {
		return errors.New("--ssh-user needs a key: give --ssh-keyfile")
	}
	if _, err := ReadKey(a.KeyFile); err != nil {
		return fmt.Errorf("--ssh-keyfile: %w", err)
	}
	return nil
}

// CheckButKey is Check before the key is there.
func (a *Access) CheckButKey() error {
	if a.User == "" {
		if a.KeyFile+a.KnownHostsFile+a.Bastion != "" {
			return errors.New("--ssh-keyfile, --ssh-known-hosts and --ssh-bastion are for nodes that are reached by SSH: give --ssh-user too")
		}
		return nil
	}
	if strings.ContainsAny(a.User, " \t\n@:") {
		return fmt.Errorf("--ssh-user=%q is no name of a user", a.User)
	}
	if a.KnownHostsFile == "" {
		return errors.New("--ssh-user needs the host keys of the nodes: give --ssh-known-hosts, such as ssh-keyscan writes it, or with @cert-authority lines")
	}
	if a.Port < 1 || a.Port > 65535 {
		return fmt.Errorf("--ssh-port=%d is no port: want 1 to 65535", a.Port)
	}
	known, err := readKnownHosts(a.KnownHostsFile)
	if err != nil {
		return fmt.Errorf("--ssh-known-hosts: %w", err)
	}
	return a.checkBastion(known)
}

func (a *Access) checkBastion(known *knownHosts) error {
	if a.Bastion == "" {
		return nil
	}
	_, address, err := a.BastionAddress()
	if err != nil {
		return err
	}
	if _, err := known.algorithms(address); err != nil {
		return fmt.Errorf("--ssh-bastion: %w", err)
	}
	return nil
}

// BastionAddress returns who logs in to the bastion, and where.
func (a *Access) BastionAddress() (user, address string, err error) {
	user, rest, found := strings.Cut(a.Bastion, "@")
	if !found {
		user, rest = a.User, a.Bastion
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), strconv.Itoa(DefaultPort)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || user == "" || host == "" || strings.ContainsAny(host, "@ /") {
		return "", "", fmt.Errorf("--ssh-bastion=%s is no bastion: want USER@HOST:PORT", a.Bastion)
	}
	return user, net.JoinHostPort(host, port), nil
}

// Address returns where the sshd of the node's host listens.
func (a *Access) Address(host string) string { return net.JoinHostPort(host, strconv.Itoa(a.Port)) }

// Login returns how to log in as user at address, a host:port. It fails where no
// host key of that address is known.
func (a *Access) Login(user, address string) (*ssh.ClientConfig, error) {
	signer, err := ReadKey(a.KeyFile)
	if err != nil {
		return nil, err
	}
	known, err := readKnownHosts(a.KnownHostsFile)
	if err != nil {
		return nil, err
	}
	algorithms, err := known.algorithms(address)
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   known.verify,
		HostKeyAlgorithms: algorithms,
	}, nil
}
