// Package security says what each process of a control plane may hold, and finds out about one that
// runs what it may do.
package security

import (
	"fmt"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/keyspace"
	"triptych.dev/triptych/internal/tier"
)

// Etcd and Supervisor are the processes that are no tiers.
const (
	Etcd       = "etcd"
	Supervisor = string(identity.Supervisor)
)

// Thing is what a process can hold.
type Thing struct {
	// Name is the path of a secret file below the data directory, or of what is no file, what it is.
	Name string
	// Use is what it is good for.
	Use string
	// Holders are the processes that hold it, beside the supervisor.
	Holders []string
	// File tells that Name is a path.
	File bool
	// Keys are whose range of keys in etcd it is, empty if it is none.
	Keys tier.Name
}

// Things are all that is worth to be kept from somebody, in a control plane with the given head.
func Things(head tier.Name) []Thing {
	core, aggregator, extensions := string(tier.Core), string(tier.Aggregator), string(tier.Extensions)
	file := func(name, use string, holders ...string) Thing {
		return Thing{Name: name, Use: use, Holders: holders, File: true}
	}
	things := []Thing{
		file("pki/ca.key", "signs clients, among them administrators"),
		file("pki/front-proxy-ca.key", "signs who may speak for others to aggregated API servers"),
		file("pki/internal/ca.key", "signs tiers"),
		file("pki/etcd/ca.key", "signs clients of etcd"),
		file("admin.kubeconfig", "makes its reader administrator"),
		file("pki/sa.key", "makes service-account tokens", core),
		file("pki/apiserver-kubelet-client.key", "makes kubelets do everything", core),
		file("pki/ssh.key", "opens tunnels to nodes", core),
		file("pki/front-proxy-client.key", "speaks for others to aggregated API servers", aggregator),
		file("pki/apiserver.key", "is the secure port", string(head)),
		file("pki/etcd/server.key", "is etcd", Etcd),
		file("pki/apiserver-etcd-client.key", "is a client of etcd, for people"),
		file("pki/etcd/supervisor-client.key", "is the supervisor to etcd"),
		file("pki/internal/supervisor-self.key", "is the supervisor to the tiers"),
		file("pki/internal/supervisor-delegation.key", "speaks for system:unsecured to the head"),
	}
	for _, name := range tier.Order {
		is := string(name)
		things = append(things,
			file("pki/etcd/"+is+"-client.key", "is "+is+" to etcd", is),
			file("pki/internal/"+is+"-serving.key", "is "+is+" to who calls it", is),
			file("pki/internal/"+is+"-self.key", "is "+is+" to the others", is))
		if next, ok := name.Delegate(); ok {
			things = append(things, file("pki/internal/"+is+"-delegation.key", "speaks for users to "+string(next), is))
		}
	}
	for _, name := range tier.Order {
		things = append(things, Thing{Name: "etcd keys: " + ranges(name), Use: stored[name], Holders: []string{string(name), Etcd}, Keys: name})
	}
	return append(things,
		Thing{Name: "etcd calls: compaction, leases", Use: "forgets history, lets keys end by themselves", Holders: []string{core, Etcd}},
		Thing{Name: "tokens of clients, as they come", Use: "is their owner until they end", Holders: []string{core, string(head)}},
		Thing{Name: "socket: secure port", Use: "serves clients", Holders: []string{string(head)}},
		Thing{Name: "socket: hop and handshake of a tier", Use: "serves other tiers", Holders: []string{extensions, core, aggregator}},
		Thing{Name: "socket: etcd's port and http.sock", Use: "serves clients of etcd", Holders: []string{Etcd}},
		Thing{Name: "socket: run/control.sock", Use: "stops, restarts, invites hosts"},
		Thing{Name: "connection to the audit log", Use: "appends events", Holders: []string{extensions, core, aggregator}},
		Thing{Name: "files of the user's flags", Use: "what the flag is for", Holders: []string{extensions, core, aggregator}},
		Thing{Name: "etcd/", Use: "all stored objects", Holders: []string{Etcd}},
	)
}

// stored is what the tiers keep in etcd.
var stored = map[tier.Name]string{
	tier.Extensions: "CRDs and custom resources",
	tier.Core:       "all built-in objects, Secrets among them",
	tier.Aggregator: "APIServices",
}

// ranges tells in a few words which keys below --etcd-prefix are a tier's.
func ranges(name tier.Name) string {
	spans := keyspace.Stored(name, "")
	if len(spans) == 1 {
		return "PREFIX" + spans[0].From
	}
	first, last := spans[0], spans[len(spans)-1]
	if name == tier.Extensions {
		return fmt.Sprintf("the %d gaps of PREFIX/ that the others leave", len(spans))
	}
	return fmt.Sprintf("PREFIX%s to PREFIX%s, %d segments", first.From, last.From, len(spans))
}

// Holds tells whether the named process may hold the thing.
func (t Thing) Holds(process string) bool {
	return process == Supervisor || slices.Contains(t.Holders, process)
}

// columns are the processes from the one that strangers reach first inwards.
var columns = []string{string(tier.Extensions), string(tier.Core), string(tier.Aggregator), Etcd, Supervisor}

// Table returns the matrix as a table of Markdown.
func Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | good for | %s |\n|---|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, thing := range Things(tier.Aggregator) {
		fmt.Fprintf(&b, "| `%s` | %s |", thing.Name, thing.Use)
		for _, process := range columns {
			if thing.Holds(process) {
				b.WriteString(" yes |")
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
