// Package layout holds the tests of what the compiler does not check: who may
// import whom, what each binary links, and how large a file grows.
package layout

const module = "triptych.dev/triptych"

// layers is every package of the project, the bottom first. A package imports
// only from layers below its own, so that a reader can start anywhere and read
// downwards. An entry stands for the packages below it as well; among
// themselves those may import as they like.
//
// To add a package, write it into the lowest layer that holds nothing it is
// imported by.
var layers = [][]string{
	// The vocabulary.
	{"internal/tier", "internal/version", "internal/identity/identityv1", "internal/services", "internal/auditlog", "internal/sandbox", "internal/refusal", "deploy"},
	{"internal/identity", "internal/handshake/handshakev1", "internal/wiring", "internal/datadir", "internal/flagtable", "internal/keyspace", "internal/credentials"},
	// What tiers say to one another, and how.
	{"internal/handshake", "internal/hop", "internal/router", "internal/exposition", "internal/pki", "internal/authorization", "internal/rights", "internal/sshaccess", "internal/invitation", "internal/custody"},
	{"internal/process", "internal/insecure", "internal/tunnel"},
	{"internal/dialer"},
	{"internal/serving", "internal/etcd"},
	{"internal/delegate", "internal/admission", "internal/authentication", "internal/backup"},
	// The tiers do not know each other: what one needs of another crosses a hop.
	{"internal/core", "internal/extensions", "internal/aggregator", "internal/control", "internal/service"},
	{"internal/supervisor", "internal/supportbundle"},
	{"internal/dashboard"},
	{"internal/cli", "internal/flagtable/generate", "internal/keyspace/generate"},
	{"cmd/core", "cmd/extensions", "cmd/aggregator", "cmd/tiers", "cmd/supervisor"},
}

// tests is the folder of packages outside of the layers: they may import everything
// below cmd, and nothing imports them.
const tests = "test"

// limits is how many packages of k8s.io/kubernetes what a command runs may
// need, itself the reason why its process is small and why it cannot serve what
// is not its own. Core has no limit, nor has the file that all tiers share.
var limits = map[string]int{
	"cmd/extensions": 60,
	"cmd/aggregator": 60,
	"cmd/supervisor": 0,
}

// registriesAllowed are the packages below k8s.io/kubernetes/pkg/registry that
// others than core may link: they hold rules, and no storage.
var registriesAllowed = []string{"k8s.io/kubernetes/pkg/registry/rbac/validation"}

// emptyNames say nothing about what a package is.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base"}

const (
	// maxFileLines is for files that people write.
	maxFileLines = 500
	// maxMainLines leaves room for the signal, the call and the exit code.
	maxMainLines = 30
)
