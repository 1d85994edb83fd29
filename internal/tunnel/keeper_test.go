package tunnel

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func node(i int) Node {
	return Node{Name: fmt.Sprintf("n%d", i), Addresses: []string{fmt.Sprintf("n%d.example", i), fmt.Sprintf("10.0.0.%d", i)}}
}

// hosts starts a server for each of the first n nodes, at its IP address.
func hosts(t *testing.T, n int) (*fleet, []Node) {
	t.Helper()
	f := &fleet{by: map[string]*sshd{}}
	var nodes []Node
	for i := 1; i <= n; i++ {
		nodes = append(nodes, node(i))
		f.by[fmt.Sprintf("10.0.0.%d", i)] = startSSHD(t, fmt.Sprintf("n%d", i))
	}
	return f, nodes
}

// through dials and returns what the server says: its name and the address.
func through(t *testing.T, k *Keeper, address string) (string, error) {
	t.Helper()
	conn, err := k.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

func TestANodesAddressesAreDialedFromTheNodeAndOthersFromAnyThatIsUp(t *testing.T) {
	f, nodes := hosts(t, 50)
	k := keep(t, f, nodes...)
	took := eventually(t, "50 tunnels", func() bool { return k.States()[Up] == 50 })
	t.Logf("50 tunnels took %v", took)
	for i := 1; i <= 50; i++ {
		for _, address := range []string{fmt.Sprintf("10.0.0.%d:10250", i), fmt.Sprintf("N%d.example:10250", i)} {
			if said, err := through(t, k, address); err != nil || said != fmt.Sprintf("n%d %s", i, address) {
				t.Errorf("%s: %q, %v", address, said, err)
			}
		}
	}
	by := map[string]bool{}
	for range 200 {
		said, err := through(t, k, "10.244.3.7:80")
		from, to, _ := strings.Cut(said, " ")
		if err != nil || to != "10.244.3.7:80" {
			t.Fatalf("%q, %v", said, err)
		}
		by[from] = true
	}
	if len(by) < 20 {
		t.Errorf("200 dials went through %d nodes of 50", len(by))
	}
}

func TestTunnelsFollowTheNodes(t *testing.T) {
	f, nodes := hosts(t, 3)
	k := keep(t, f, nodes[0])
	eventually(t, "the first tunnel", func() bool { return k.States()[Up] == 1 })
	k.Sync(nodes)
	eventually(t, "three tunnels", func() bool { return k.States()[Up] == 3 })
	if n := f.by["10.0.0.1"].loggedIn(); n != 1 {
		t.Errorf("a sync that changed nothing for a node logged in to it again: %d", n)
	}
	// The first moves to where the second was.
	k.Sync([]Node{{Name: "n1", Addresses: []string{"10.0.0.2"}}})
	eventually(t, "the moved tunnel", func() bool {
		said, err := through(t, k, "10.0.0.2:10250")
		return err == nil && said == "n2 10.0.0.2:10250" && k.States()[Up] == 1 && f.by["10.0.0.2"].loggedIn() == 2
	})
	k.Sync(nil)
	if _, err := through(t, k, "10.0.0.2:10250"); !isUnavailable(err) || !strings.Contains(err.Error(), "no node") {
		t.Errorf("without nodes: %v", err)
	}
}

func TestWithoutATunnelADialIs503(t *testing.T) {
	t.Parallel()
	f, nodes := hosts(t, 2)
	f.by["10.0.0.2"].stop()
	k := keep(t, f, nodes...)
	eventually(t, "one up, one down", func() bool { s := k.States(); return s[Up] == 1 && s[Down] == 1 })
	began := time.Now()
	_, err := through(t, k, "10.0.0.2:10250")
	if took := time.Since(began); !isUnavailable(err) || !strings.Contains(err.Error(), "n2") || took > patience+2*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if said, err := through(t, k, "10.244.0.1:80"); err != nil || said != "n1 10.244.0.1:80" {
		t.Errorf("%q, %v", said, err)
	}
	// What the node cannot reach is no 503, and says who could not.
	f.by["10.0.0.1"].mu.Lock()
	f.by["10.0.0.1"].refusing = true
	f.by["10.0.0.1"].mu.Unlock()
	if _, err := through(t, k, "10.0.0.1:10250"); err == nil || isUnavailable(err) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("refused: %v", err)
	}
}

// isUnavailable demands the error itself: API servers look no deeper.
func isUnavailable(err error) bool {
	status, ok := err.(*apierrors.StatusError)
	return ok && status.ErrStatus.Code == http.StatusServiceUnavailable
}

func TestALostTunnelIsReplacedAndADialWaitsForIt(t *testing.T) {
	f, nodes := hosts(t, 1)
	k := keep(t, f, nodes...)
	eventually(t, "the tunnel", func() bool { return k.States()[Up] == 1 })
	s := f.by["10.0.0.1"]
	s.stop()
	eventually(t, "it is missed", func() bool { return k.States()[Down] == 1 })
	s.start(t)
	began := time.Now()
	if said, err := through(t, k, "10.0.0.1:10250"); err != nil || said != "n1 10.0.0.1:10250" {
		t.Errorf("%q, %v", said, err)
	}
	t.Logf("dialed %v after the server was back", time.Since(began))
}

// The connection is not closed meanwhile: others that use it may have more patience.
func TestAServerThatHangsKeepsNobodyFromAnother(t *testing.T) {
	t.Parallel()
	f, nodes := hosts(t, 2)
	k := keep(t, f, nodes[0])
	eventually(t, "the first tunnel", func() bool { return k.States()[Up] == 1 })
	f.by["10.0.0.1"].hang()
	type answer struct {
		said string
		err  error
	}
	got := make(chan answer, 1)
	began := time.Now()
	go func() {
		said, err := through(t, k, "10.244.0.1:80")
		got <- answer{said, err}
	}()
	eventually(t, "the hung server is asked", func() bool {
		s := f.by["10.0.0.1"]
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.unserved == 1
	})
	k.Sync(nodes)
	eventually(t, "two tunnels", func() bool { return k.States()[Up] == 2 })
	if a := <-got; a.err != nil || a.said != "n2 10.244.0.1:80" || time.Since(began) > patience+2*time.Second {
		t.Errorf("%q, %v after %v", a.said, a.err, time.Since(began))
	}
	began = time.Now()
	if err := k.Await(t.Context(), "10.0.0.1"); !isUnavailable(err) || !strings.Contains(err.Error(), "n1 does not answer") {
		t.Errorf("its own addresses: %v", err)
	}
	if took := time.Since(began); took > patience+2*time.Second {
		t.Errorf("its own addresses: %v", took)
	}
	if err := k.Await(t.Context(), "10.0.0.2"); err != nil {
		t.Errorf("another's addresses: %v", err)
	}
	if n := k.States()[Up]; n != 2 {
		t.Errorf("%d tunnels are up", n)
	}
}

func TestANodeDrawsNothingToItThatIsForAnother(t *testing.T) {
	t.Parallel()
	f, nodes := hosts(t, 2)
	liar := Node{Name: "n1", Addresses: []string{"10.0.0.1", "10.0.0.2", "n2.example", "n2", "fd00::3"}}
	f.by["fd00:0::3"] = startSSHD(t, "n3")
	k := keep(t, f, liar, nodes[1], Node{Name: "n3", Addresses: []string{"fd00:0::3"}})
	eventually(t, "three tunnels", func() bool { return k.States()[Up] == 3 })
	for range 20 {
		if said, err := through(t, k, "10.0.0.2:10250"); err != nil || said != "n2 10.0.0.2:10250" {
			t.Fatalf("%q, %v", said, err)
		}
	}
	for _, address := range []string{"[fd00::3]:10250", "[FD00:0::0:3]:10250"} {
		if said, err := through(t, k, address); err != nil || !strings.HasPrefix(said, "n3 ") {
			t.Errorf("%s: %q, %v", address, said, err)
		}
	}
	// Nobody was reached by this name.
	if said, err := through(t, k, "n2.example:10250"); !isUnavailable(err) || !strings.Contains(err.Error(), "2 nodes") {
		t.Errorf("%q, %v", said, err)
	}
	// The node's absence is no reason to believe another.
	f.by["10.0.0.2"].stop()
	eventually(t, "two tunnels", func() bool { return k.States()[Up] == 2 })
	if said, err := through(t, k, "10.0.0.2:10250"); !isUnavailable(err) {
		t.Errorf("%q, %v", said, err)
	}
}

func TestLoopbackIsThisMachines(t *testing.T) {
	f, nodes := hosts(t, 1)
	k := keep(t, f, append(nodes, Node{Name: "self", Addresses: []string{"127.0.0.1", "::1", "localhost", "0.0.0.0", "::"}})...)
	for _, host := range []string{"127.0.0.1", "::1", "LOCALHOST", "0.0.0.0", "::"} {
		if err := k.Await(t.Context(), host); err != nil {
			t.Errorf("waits for a tunnel to itself, %s: %v", host, err)
		}
	}
	s := startSSHD(t, "here")
	conn, err := k.DialContext(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if banner, err := bufio.NewReader(conn).ReadString('-'); err != nil || banner != "SSH-" {
		t.Errorf("%q, %v", banner, err)
	}
}

func TestTheCheckFailsWhenTheNodesAreNotLookedAt(t *testing.T) {
	f, nodes := hosts(t, 0)
	k := keep(t, f, append(nodes, node(1))...)
	eventually(t, "a tunnel that is down", func() bool { return k.States()[Down] == 1 })
	if err := k.Check(); err != nil {
		t.Errorf("a node that is away fails the check: %v", err)
	}
	k.synced.Store(time.Now().Add(-maxSyncAge - time.Second).UnixNano())
	if err := k.Check(); err == nil {
		t.Error("the check passes")
	}
}
