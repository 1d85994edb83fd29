// Package wiring is what a tier's process needs to find the others: which
// listeners it was handed, where the other tiers are, and the files that prove
// who is who. The supervisor writes one file a process and passes its path as
// --wiring; everything else a tier wants to know are kube-apiserver's flags.
//
// Addresses are configuration: nothing in a tier assumes that another one is on
// the same machine.
package wiring

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/tier"
)

// Wiring is the content of a --wiring file, YAML or JSON, decoded strictly.
type Wiring struct {
	// Tier is checked against the binary that reads the file.
	Tier tier.Name `json:"tier"`
	// Replica is unique among the processes of the tier: "core-0".
	Replica string `json:"replica"`
	// Head is the tier with the secure port: aggregator, or core in direct mode,
	// where there is no aggregator.
	Head tier.Name `json:"head"`
	// Listen are the sockets of this process.
	Listen Listen `json:"listen"`
	// Lifeline is the number of an inherited descriptor, the read end of a pipe
	// whose write end the supervisor holds: end of file means the supervisor is
	// gone, and so must this process be. Zero is no lifeline.
	Lifeline int `json:"lifeline,omitempty"`
	// AuditLog is the number of an inherited descriptor, a connection to the audit
	// log. With zero the process writes --audit-log-path itself.
	AuditLog int `json:"auditLog,omitempty"`
	// PKI are the internal certificates of this process.
	PKI PKI `json:"pki"`
	// Tiers tells where the replicas of every tier up to the head are. A tier of other
	// hosts may have none at the moment.
	Tiers map[tier.Name][]Endpoint `json:"tiers"`
	// PublicAddress is the host:port of the head's secure port, which core
	// publishes in the endpoints of the kubernetes Service.
	PublicAddress string `json:"publicAddress"`
	// Sandbox is what is done about what the process has no need of: enforce, log or off, which is also
	// what nothing means. The process reads the folder of this file, and no others of ours.
	Sandbox string `json:"sandbox,omitempty"`
	// PublishesHeads: there is no head on this host, and core publishes the addresses of
	// those alone that it sees elsewhere.
	PublishesHeads bool `json:"publishesHeads,omitempty"`
	// SoftMemoryLimit is the size in bytes at which garbage is collected more often from
	// now on. It is read when the wiring is read again; 0 leaves it as it is.
	SoftMemoryLimit int64 `json:"softMemoryLimit,omitempty"`
	// MainEtcd is core's, for an extensions that has an etcd of its own.
	MainEtcd *Etcd `json:"mainEtcd,omitempty"`
	// Snapshots is the head's alone, to tell in its metrics, and nil without a schedule.
	Snapshots *Snapshots `json:"snapshots,omitempty"`
}

// Etcd is how an etcd is reached.
type Etcd struct {
	// Servers are URLs.
	Servers []string `json:"servers"`
	// CAFile is the CA of the servers, empty for those of the system; CertFile and
	// KeyFile are shown to them, empty for none.
	CAFile   string `json:"caFile,omitempty"`
	CertFile string `json:"certFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty"`
}

// Snapshots is how the supervisor's schedule of snapshots stands.
type Snapshots struct {
	// LastSuccess is when the newest there is was taken, in seconds since 1970; 0 is never.
	LastSuccess int64 `json:"lastSuccess"`
	// Failures is how many attempts have failed since the supervisor was started, Failed
	// whether the last one has.
	Failures int  `json:"failures"`
	Failed   bool `json:"failed"`
}

// Listen names the sockets of one process.
type Listen struct {
	// Hop takes delegated requests and the tiers' own calls; on the head it is
	// the private listener. Mutual TLS by the internal CA.
	Hop Socket `json:"hop"`
	// HopSocket is a unix socket that takes the same, empty if there is none.
	HopSocket Socket `json:"hopSocket,omitempty"`
	// Handshake serves health and the handshake over gRPC. Mutual TLS.
	Handshake Socket `json:"handshake"`
	// Public is the secure port; the head's alone.
	Public Socket `json:"public,omitempty"`
}

// PKI are paths of PEM files. Delegation is empty where the tier delegates to
// nobody.
type PKI struct {
	// CA is the internal CA's bundle. It is never trusted on the public port.
	CA string `json:"ca"`
	// Cut: connections of peers that CA does not vouch for any more are closed at once, and not when they have had time
	// to answer.
	Cut bool `json:"cut,omitempty"`
	// Serving is shown to callers on the hop and handshake listeners.
	Serving KeyPair `json:"serving"`
	// Self makes calls as the tier itself.
	Self KeyPair `json:"self"`
	// Delegation makes calls that speak for others.
	Delegation KeyPair `json:"delegation,omitempty"`
}

// KeyPair is a certificate chain and its key, paths of PEM files.
type KeyPair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Endpoint is where a replica of a tier is reached: Hop and Handshake are host:port.
type Endpoint struct {
	// Replica is its name, as in Wiring.Replica.
	Replica   string `json:"replica"`
	Hop       string `json:"hop"`
	Handshake string `json:"handshake"`
	// HopSocket is the path of a unix socket that may be used in place of Hop, empty if
	// there is none.
	HopSocket string `json:"hopSocket,omitempty"`
	// Remote: it is on another host. Where one of this host will do it is not asked.
	Remote bool `json:"remote,omitempty"`
}

// Load reads and checks the file at path for a process of the tier want.
func Load(path string, want tier.Name) (*Wiring, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the wiring: %w", err)
	}
	w := &Wiring{}
	if err := yaml.UnmarshalStrict(data, w); err != nil {
		return nil, fmt.Errorf("cannot parse the wiring %s: %w", path, err)
	}
	if w.Tier != want {
		return nil, fmt.Errorf("the wiring %s is for tier %q, this is %q", path, w.Tier, want)
	}
	if err := w.validate(); err != nil {
		return nil, fmt.Errorf("invalid wiring %s: %w", path, err)
	}
	return w, nil
}

func (w *Wiring) validate() error {
	var errs []error
	need := func(name, value string) {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s must be set", name))
		}
	}
	need("replica", w.Replica)
	need("listen.hop", string(w.Listen.Hop))
	need("listen.handshake", string(w.Listen.Handshake))
	need("pki.ca", w.PKI.CA)
	needPair := func(name string, pair KeyPair) {
		need(name+".cert", pair.Cert)
		need(name+".key", pair.Key)
	}
	needPair("pki.serving", w.PKI.Serving)
	needPair("pki.self", w.PKI.Self)
	if w.IsHead() {
		need("listen.public", string(w.Listen.Public))
	}
	if _, delegates := w.Tier.Delegate(); delegates {
		needPair("pki.delegation", w.PKI.Delegation)
	}
	if _, err := netip.ParseAddrPort(w.PublicAddress); err != nil {
		errs = append(errs, fmt.Errorf("publicAddress must be IP:port: %w", err))
	}
	if w.Head != tier.Aggregator && w.Head != tier.Core {
		return errors.Join(append(errs, fmt.Errorf("head must be %s or %s", tier.Aggregator, tier.Core))...)
	}
	for _, name := range tier.UpTo(w.Head) {
		errs = append(errs, complete(name, w.Tiers[name]))
		if _, named := w.Tiers[name]; !named {
			errs = append(errs, fmt.Errorf("tiers.%s must name its replicas, or be an empty list", name))
		}
	}
	if w.Own() == (Endpoint{}) {
		errs = append(errs, fmt.Errorf("tiers.%s must name replica %s itself", w.Tier, w.Replica))
	}
	return errors.Join(errs...)
}

func complete(name tier.Name, replicas []Endpoint) error {
	known := map[string]bool{}
	for _, e := range replicas {
		if e.Replica == "" || e.Hop == "" || e.Handshake == "" || known[e.Replica] {
			return fmt.Errorf("each of tiers.%s needs replica, hop and handshake, and a name of its own", name)
		}
		known[e.Replica] = true
	}
	return nil
}

// Own returns where this process itself is reached.
func (w *Wiring) Own() Endpoint {
	for _, e := range w.Tiers[w.Tier] {
		if e.Replica == w.Replica {
			return e
		}
	}
	return Endpoint{}
}

// Siblings returns the replicas of this process' tier on its host, itself among them.
func Siblings(replicas []Endpoint) []Endpoint {
	return slices.DeleteFunc(slices.Clone(replicas), func(e Endpoint) bool { return e.Remote })
}

// IsHead tells whether the process is one of the head.
func (w *Wiring) IsHead() bool { return w.Tier == w.Head }

// Socket is "fd:N" for an inherited listening descriptor, or a host:port to
// listen on.
type Socket string

// FD returns the Socket of inherited descriptor n.
func FD(n int) Socket { return Socket("fd:" + strconv.Itoa(n)) }

// Open returns the listener. An inherited descriptor can be opened once: it is
// closed in favour of the listener's own.
func (s Socket) Open() (net.Listener, error) {
	n, inherited := strings.CutPrefix(string(s), "fd:")
	if !inherited {
		l, err := net.Listen("tcp", string(s))
		if err != nil {
			return nil, fmt.Errorf("cannot listen: %w", err)
		}
		return l, nil
	}
	fd, err := strconv.Atoi(n)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("invalid socket %q: want fd:N or host:port", s)
	}
	f := os.NewFile(uintptr(fd), string(s))
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use inherited %s as a listener: %w", s, err)
	}
	return l, nil
}
