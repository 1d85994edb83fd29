package spine

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/discovery"

	"triptych.dev/triptych/internal/keyspace"
	"triptych.dev/triptych/internal/supervisor/security"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// operator holds the certificate under kubeadm's name for it.
const operator = "apiserver-etcd-client"

// etcdClients are clients with each tier's real certificate.
func etcdClients(t *testing.T, c *harness.Cluster) map[tier.Name]*clientv3.Client {
	t.Helper()
	all := map[tier.Name]*clientv3.Client{}
	for _, name := range tier.Order {
		all[name] = c.EtcdAs(t, "etcd/"+string(name)+"-client").Client(t)
	}
	return all
}

// refused demands that etcd said no, and not that it was away.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "ermission") {
		t.Errorf("%s: %v, want it refused", what, err)
	}
}

// Whoever has taken over a tier has its certificate for etcd, and with that it reads
// and writes what the tier stores, and not a key of the others.
func TestEtcdConfinesEachTierToItsOwnKeys(t *testing.T) {
	c := harness.Shared(t)
	const group = "etcd-rights.example.com"
	installCRD(t, &c.API, group)
	createGadget(t, &c.API, group, "one")
	c.Kubectl(t, "create", "secret", "generic", "etcd-rights", "--from-literal=key=value")
	clients, kinds := etcdClients(t, c), map[string]bool{}
	for key := range c.EtcdAs(t, operator).Stored(t, "/registry/") {
		kind, _, _ := strings.Cut(strings.TrimPrefix(key, "/registry/"), "/")
		kinds[kind] = true
		for name, client := range clients {
			mine := slices.ContainsFunc(keyspace.Stored(name, "/registry"), func(s keyspace.Span) bool { return s.From <= key && key < s.To })
			if custom := strings.Contains(kind, ".") && kind != "apiregistration.k8s.io"; custom != mine && name == tier.Extensions {
				t.Errorf("%s is extensions': %v", key, mine)
			}
			answer, err := client.Get(t.Context(), key)
			if !mine {
				refused(t, fmt.Sprintf("%s reads %s", name, key), err)
			} else if err != nil || answer.Count != 1 && !strings.HasPrefix(kind, "masterlease") {
				t.Errorf("%s cannot read its own %s: %v", name, key, err)
			}
		}
	}
	if len(kinds) < 20 {
		t.Errorf("only %d kinds are stored: %v", len(kinds), kinds)
	}
	for _, prefix := range []string{"/registry/secrets/", "/registry/", "/registry/clusterrolebindings/", "/registry/apiregistration.k8s.io/", "/", ""} {
		extensions := clients[tier.Extensions]
		_, err := extensions.Get(t.Context(), prefix, clientv3.WithPrefix())
		refused(t, "extensions lists "+prefix, err)
		_, err = extensions.Delete(t.Context(), prefix, clientv3.WithPrefix())
		refused(t, "extensions deletes "+prefix, err)
		watched := <-extensions.Watch(t.Context(), prefix, clientv3.WithPrefix())
		refused(t, "extensions watches "+prefix, watched.Err())
	}
	_, err := clients[tier.Extensions].Put(t.Context(), "/registry/clusterrolebindings/mine", "v")
	refused(t, "extensions writes a binding", err)
	_, err = clients[tier.Core].Get(t.Context(), "/registry/"+group+"/", clientv3.WithPrefix())
	refused(t, "core lists custom resources", err)
	_, err = clients[tier.Core].Get(t.Context(), "/registry/apiextensions.k8s.io/", clientv3.WithPrefix())
	refused(t, "core lists CRDs", err)
}

// By the certificate that each process has been handed, and by nothing else, each range of the matrix of docs/explanation/security.md is
// opened for who has it there, from its first key to its last, and for nobody else.
func TestEachProcessReadsItsOwnRangeOfEtcdAlone(t *testing.T) {
	c := harness.Shared(t)
	tried := 0
	for _, name := range tier.Order {
		e := c.EtcdAs(t, operator)
		handed := c.Path("run", string(name), "etcd-"+string(name)+"-client")
		e.CertFile, e.KeyFile = handed+".crt", handed+".key"
		client := e.Client(t)
		for _, thing := range security.Things(tier.Aggregator) {
			if thing.Keys == "" {
				continue
			}
			for _, span := range keyspace.Stored(thing.Keys, "/registry") {
				tried++
				what := fmt.Sprintf("%s reads %q to %q of %s", name, span.From, span.To, thing.Keys)
				_, err := client.Get(t.Context(), span.From, clientv3.WithRange(span.To), clientv3.WithCountOnly())
				if thing.Holds(string(name)) {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					_, err = client.Get(t.Context(), span.From, clientv3.WithRange(span.To+"\x00"), clientv3.WithCountOnly())
					refused(t, what+", and a key more", err)
					continue
				}
				refused(t, what, err)
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d ranges were tried", tried)
	}
	t.Logf("%d ranges were tried", tried)
}

// What etcd guards by no right about keys is refused before it: who compacts at the
// head of history has every watch begin anew, and who takes leases fills the memory.
func TestEtcdRefusesTiersWhatIsNoneOfTheirs(t *testing.T) {
	c := harness.Shared(t)
	for name, client := range etcdClients(t, c) {
		answer := harness.Must(client.Get(t.Context(), "compact_rev_key"))(t)
		if name != tier.Core {
			_, err := client.Compact(t.Context(), answer.Header.Revision)
			refused(t, string(name)+" compacts", err)
			_, err = client.Put(t.Context(), "compact_rev_key", "9999999")
			refused(t, string(name)+" says that it has compacted", err)
			_, err = client.Grant(t.Context(), 3600)
			refused(t, string(name)+" takes a lease", err)
		}
		_, err := client.Defragment(t.Context(), client.Endpoints()[0])
		refused(t, string(name)+" defragments", err)
		_, err = client.AuthDisable(t.Context())
		refused(t, string(name)+" turns authentication off", err)
		_, err = client.Authenticate(t.Context(), "root", "password")
		refused(t, string(name)+" tries a password", err)
		_, err = client.RoleGrantPermission(t.Context(), "triptych-"+string(name), "/", "0", clientv3.PermissionType(clientv3.PermReadWrite))
		refused(t, string(name)+" gives itself a right", err)
		_, err = client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
		refused(t, string(name)+" disarms alarms", err)
		_, err = client.MemberList(t.Context())
		refused(t, string(name)+" lists members", err)
		reader, err := client.Snapshot(t.Context())
		if err == nil {
			_, err = reader.Read(make([]byte, 1))
		}
		refused(t, string(name)+" takes a snapshot", err)
	}
	// A certificate of etcd's CA that nobody knows is worth nothing.
	ca := harness.Must(harness.LoadPair(c.Path("pki", "etcd", "ca.crt"), c.Path("pki", "etcd", "ca.key")))(t)
	for _, name := range []string{"stranger", "root", ""} {
		pair, dir := harness.Must(ca.Issue(harness.Leaf{CommonName: name, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}))(t), harness.TempDir(t)
		if err := pair.Write(dir + "/it"); err != nil {
			t.Fatal(err)
		}
		stranger := c.EtcdAs(t, operator)
		stranger.CertFile, stranger.KeyFile = dir+"/it.crt", dir+"/it.key"
		_, err := stranger.Client(t).Get(t.Context(), "/registry/secrets/", clientv3.WithPrefix())
		refused(t, fmt.Sprintf("%q reads Secrets", name), err)
	}
}

// Whatever core can be told to serve it may store: each resource of each version, those
// behind gates too, is read from etcd.
func TestCoreMayStoreEverythingThatItServes(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--runtime-config=api/all=true", "--feature-gates=AllAlpha=true,AllBeta=true"}})
	_, lists, err := c.Discovery(t).ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		t.Fatal(err)
	}
	count := 0
	for _, list := range lists {
		for _, r := range list.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "componentstatuses" {
				continue
			}
			path := "/apis/" + list.GroupVersion + "/" + r.Name
			if list.GroupVersion == "v1" {
				path = "/api/v1/" + r.Name
			}
			count++
			if got := c.Get(t, path+"?limit=1"); got.Code != http.StatusOK {
				t.Errorf("%s: %s", path, got)
			}
		}
	}
	if count < 90 {
		t.Errorf("only %d resources are listed", count)
	}
	t.Logf("%d resources are read from etcd", count)
	for key := range c.EtcdAs(t, operator).Stored(t, "/registry/") {
		owners := 0
		for _, name := range tier.Order {
			for _, s := range keyspace.Stored(name, "/registry") {
				if s.From <= key && key < s.To {
					owners++
				}
			}
		}
		if owners != 1 {
			t.Errorf("%s has %d owners", key, owners)
		}
	}
}
