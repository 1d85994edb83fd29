package harness

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// Enclave is a network that only an OpenSSH server leads into: a network namespace
// with addresses for nodes, of which this machine reaches port 22 and no other, and
// further addresses that it does not reach at all. It needs root.
type Enclave struct {
	namespace, dir string
	prefix         string // of IPv4 addresses
	link, farther  string // prefixes of IPv6 addresses: on the way, and of nodes
	hostKey        ssh.PublicKey
	sshd           *Process
}

// sshd of OpenSSH, Debian's package openssh-server.
const sshd = "/usr/sbin/sshd"

// StartEnclave makes one with addresses for n nodes, on all of which sshd lets root
// in by a line of authorized_keys.
func StartEnclave(t testing.TB, n int, authorized string) *Enclave {
	t.Helper()
	id := os.Getpid() % 250
	e := &Enclave{namespace: fmt.Sprintf("triptych-%d", os.Getpid()), dir: TempDir(t), prefix: fmt.Sprintf("198.18.%d.", id)}
	e.link, e.farther = fmt.Sprintf("fd18:%x::", id), fmt.Sprintf("fd18:%x:1::", id)
	outside := fmt.Sprintf("tt%d", os.Getpid())
	e.ip(t, "netns", "add", e.namespace)
	t.Cleanup(func() {
		// An end of the pair takes the other along. Connections may keep the namespace
		// a little longer than its name.
		_ = exec.Command("ip", "link", "del", outside).Run()
		_ = exec.Command("ip", "netns", "del", e.namespace).Run()
	})
	e.ip(t, "link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", e.namespace)
	e.ip(t, "addr", "add", e.prefix+"254/24", "dev", outside)
	e.ip(t, "link", "set", outside, "up")
	e.ip(t, "-n", e.namespace, "link", "set", "lo", "up")
	e.ip(t, "-n", e.namespace, "link", "set", "inside", "up")
	e.ip(t, "-n", e.namespace, "addr", "add", e.prefix+"253/24", "dev", "inside")
	// Unlike IPv4, IPv6 answers for no address of another device.
	e.ip(t, "addr", "add", e.link+"2/64", "dev", outside, "nodad")
	e.ip(t, "-n", e.namespace, "addr", "add", e.link+"1/64", "dev", "inside", "nodad")
	e.ip(t, "route", "add", e.farther+"/64", "via", e.link+"1")
	for i := range n {
		e.add(t, e.Node(i))
	}
	e.add(t, e.Node6())
	e.configure(t, authorized)
	e.StartSSHD(t)
	t.Cleanup(func() { e.KillSSHD(t) })
	return e
}

// Node returns the address of the i-th node.
func (e *Enclave) Node(i int) string { return fmt.Sprint(e.prefix, i+1) }

// Node6 returns the IPv6 address of one more node.
func (e *Enclave) Node6() string { return e.farther + "1" }

// add makes host an address of the inside. On loopback, because Linux takes what
// comes from inside to come from the device that has the address.
func (e *Enclave) add(t testing.TB, host string) {
	t.Helper()
	e.ip(t, "-n", e.namespace, "addr", "replace", host, "dev", "lo")
}

func (e *Enclave) ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

func (e *Enclave) configure(t testing.TB, authorized string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block := Must(ssh.MarshalPrivateKey(key, "node"))(t)
	WriteFile(t, e.dir+"/host_key", pem.EncodeToMemory(block), 0o600)
	e.hostKey = Must(ssh.NewPublicKey(key.Public()))(t)
	WriteFile(t, e.dir+"/authorized_keys", []byte(authorized+"\n"), 0o600)
	WriteFile(t, e.dir+"/sshd_config", []byte(strings.Join([]string{
		"HostKey " + e.dir + "/host_key", "AuthorizedKeysFile " + e.dir + "/authorized_keys", "PidFile none",
		"PermitRootLogin prohibit-password", "PasswordAuthentication no", "UsePAM no", "StrictModes no", "MaxStartups 500",
	}, "\n")+"\n"), 0o600)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
}

// KnownHost is the line of known_hosts for the node at address.
func (e *Enclave) KnownHost(address string) string {
	return address + " " + string(ssh.MarshalAuthorizedKey(e.hostKey))
}

// StartSSHD starts the server again after KillSSHD.
func (e *Enclave) StartSSHD(t testing.TB) {
	t.Helper()
	e.sshd = Must(StartProcess(syscall.SIGKILL, nil, "ip", "netns", "exec", e.namespace, sshd, "-D", "-e", "-f", e.dir+"/sshd_config"))(t)
	Eventually(t, 20*time.Second, "sshd listens", func() error {
		conn, err := net.Dial("tcp", net.JoinHostPort(e.Node(0), "22"))
		if err != nil {
			return fmt.Errorf("%w: %s", err, e.sshd.Output.String())
		}
		return conn.Close()
	})
}

// KillSSHD kills the server with every connection.
func (e *Enclave) KillSSHD(t testing.TB) {
	t.Helper()
	e.SignalSSHD(t, syscall.SIGKILL)
	e.sshd.End(10 * time.Second)
}

// SignalSSHD sends a signal to the server and to what serves its connections.
func (e *Enclave) SignalSSHD(t testing.TB, signal syscall.Signal) {
	t.Helper()
	pids, err := exec.Command("ip", "netns", "pids", e.namespace).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(pids)) {
		var pid int
		// This process counts as inside if listen ran on its first thread.
		if _, err := fmt.Sscan(field, &pid); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// Relay has what connects to address, from inside and from nowhere else, reach
// target on this machine.
func (e *Enclave) Relay(t testing.TB, address, target string) {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	e.add(t, host)
	l := Must(e.listen(address))(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			go relay(here, target)
		}
	}()
}

func relay(here net.Conn, target string) {
	defer here.Close()
	there, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer there.Close()
	go func() {
		_, _ = io.Copy(there, here)
		_ = there.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(here, there)
}

// listen opens a socket inside, which stays there whoever uses it.
func (e *Enclave) listen(address string) (l net.Listener, err error) {
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		inside, openErr := os.Open("/run/netns/" + e.namespace)
		if err = openErr; err != nil {
			return
		}
		defer inside.Close()
		if err = unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), "lo") })
			if err != nil {
				return err
			}
			return failed
		}}
		l, err = config.Listen(context.Background(), "tcp", address)
	}()
	<-opened
	return l, err
}
