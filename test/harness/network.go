package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Network is hosts, each a network namespace with a name of its own, on one bridge in
// another namespace, where the test dials from. Nothing of it is outside of them. It needs root.
type Network struct {
	bridge string // the namespace of the bridge
	Hosts  []*Host
}

// Host is one host of a Network.
type Host struct {
	// Name is what its processes take for the name of the machine.
	Name string
	// IP and IP6 are its addresses.
	IP, IP6 string

	namespace, bridge, port string
}

// undo ends whatever runs in namespaces, and the namespaces, when its standard input ends:
// the test may end in any way. The first argument is the test itself, which looks as if it
// were inside when a thread of it is.
const undo = `read -r _
self=$1; shift
for ns; do for pid in $(ip netns pids "$ns"); do [ "$pid" = "$self" ] || kill -9 "$pid"; done; done
for ns; do ip netns del "$ns"; done`

// StartNetwork makes n hosts. They are gone when the test ends, however it does.
func StartNetwork(t testing.TB, n int) *Network {
	t.Helper()
	prefix := fmt.Sprintf("triptych-%d-", os.Getpid())
	network := &Network{bridge: prefix + "bridge"}
	namespaces := []string{network.bridge}
	for i := range n {
		h := &Host{
			Name: fmt.Sprintf("host%d", i+1), IP: fmt.Sprintf("10.213.0.%d", i+1), IP6: fmt.Sprintf("fd00:213::%d", i+1),
			bridge: network.bridge, port: fmt.Sprintf("port%d", i+1),
		}
		h.namespace = prefix + h.Name
		network.Hosts, namespaces = append(network.Hosts, h), append(namespaces, h.namespace)
	}
	cleaner := exec.Command("sh", append([]string{"-c", undo, "undo", strconv.Itoa(os.Getpid())}, namespaces...)...)
	cleaner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is not for it
	alive := Must(cleaner.StdinPipe())(t)
	if err := cleaner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		cleaner.Wait()
	})
	for _, ns := range namespaces {
		ip(t, "netns", "add", ns)
		ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	ip(t, "-n", network.bridge, "link", "add", "br0", "type", "bridge")
	ip(t, "-n", network.bridge, "addr", "add", "10.213.0.254/24", "dev", "br0")
	ip(t, "-n", network.bridge, "addr", "add", "fd00:213::fe/64", "dev", "br0", "nodad")
	ip(t, "-n", network.bridge, "link", "set", "br0", "up")
	for _, h := range network.Hosts {
		ip(t, "-n", h.bridge, "link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", h.namespace)
		ip(t, "-n", h.bridge, "link", "set", h.port, "master", "br0", "up")
		ip(t, "-n", h.namespace, "addr", "add", h.IP+"/24", "dev", "eth0")
		ip(t, "-n", h.namespace, "addr", "add", h.IP6+"/64", "dev", "eth0", "nodad")
		ip(t, "-n", h.namespace, "link", "set", "eth0", "up")
	}
	return network
}

func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// On returns the command line by which a program is run on the host.
func (h *Host) On() []string {
	return []string{"ip", "netns", "exec", h.namespace, "unshare", "--uts", "sh", "-c", "hostname " + h.Name + ` && exec "$@"`, "sh"}
}

// Cut takes the host off the network, as if the cable were pulled.
func (h *Host) Cut(t testing.TB) { ip(t, "-n", h.bridge, "link", "set", h.port, "down") }

// Heal undoes Cut.
func (h *Host) Heal(t testing.TB) { ip(t, "-n", h.bridge, "link", "set", h.port, "up") }

// Kill ends every process of the host at once, and waits until they are gone.
func (h *Host) Kill(t testing.TB) {
	t.Helper()
	err := Await(context.Background(), 20*time.Second, h.Name+" is dead", func() error {
		alive := h.PIDs(t)
		for _, pid := range alive {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(alive) > 0 {
			return fmt.Errorf("processes %v", alive)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// PIDs are the processes of the host.
func (h *Host) PIDs(t testing.TB) []int {
	t.Helper()
	out := Must(exec.Command("ip", "netns", "pids", h.namespace).Output())(t)
	var all []int
	for _, field := range strings.Fields(string(out)) {
		if pid := Must(strconv.Atoi(field))(t); pid != os.Getpid() && Alive(pid) {
			all = append(all, pid)
		}
	}
	return all
}

// Dial connects from the bridge, as a client beside the hosts would.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, n.bridge, network, address)
}

// Dial connects from the host itself.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return dialFrom(ctx, h.namespace, network, address)
}

// dialFrom makes a connection whose socket is of the namespace, whoever uses it later.
func dialFrom(ctx context.Context, namespace, network, address string) (conn net.Conn, err error) {
	made := make(chan struct{})
	onThread(func() {
		defer close(made)
		var inside *os.File
		if inside, err = os.Open("/run/netns/" + namespace); err != nil {
			return
		}
		defer inside.Close()
		if err = unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
			err = errors.Join(errors.New("cannot enter "+namespace), err)
			return
		}
		conn, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	})
	<-made
	return conn, err
}

// onThread has f called on a thread that ends with it, and that is not the first: that one
// says in which namespace the process is.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() == os.Getpid() {
			elsewhere := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				close(elsewhere)
				f()
			}()
			<-elsewhere
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
}
