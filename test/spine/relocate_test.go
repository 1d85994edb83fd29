package spine

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/test/harness"
)

// relocation is a move of the data of one data directory to a cluster of etcd.
type relocation struct {
	dir  string
	etcd *harness.Etcd
	// to and start are flags: of the command, and of the supervisor afterwards.
	to, start []string
}

// The data of the embedded etcd moves to a cluster of three, as it is stored, and comes back. Killed anywhere, nothing is lost,
// and never may both be served from. Clients find all there is at higher resource versions, and are told that
// theirs are too old.
func TestTheDataMovesToAnEtcdClusterAndBack(t *testing.T) {
	t.Parallel()
	encryption := harness.TempDir(t) + "/encryption.yaml"
	harness.WriteFile(t, encryption, (&sealed{}).encryptionConfig("secrets = aescbc/secrets identity", "gadgets."+keptGroup+" = secretbox/gadgets identity"), 0o600)
	encrypted := "--encryption-provider-config=" + encryption
	store := harness.TempDir(t)
	members, flags, err := harness.StartEtcdMembers(store, loopbackHost(11), loopbackHost(12), loopbackHost(13))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		t.Cleanup(func() { m.Process.End(soon) })
	}
	r := &relocation{dir: harness.TempDir(t), to: append([]string{"migrate", "to-etcd"}, flags...), start: append(flags, encrypted), etcd: &harness.Etcd{
		URL: "https://" + members[0].Address + ":2379", CAFile: store + "/ca.crt", CertFile: store + "/client.crt", KeyFile: store + "/client.key",
	}}
	c := harness.Run(t, harness.Options{Dir: r.dir, Args: []string{encrypted}})
	harness.Eventually(t, harness.StartBound, "the cluster of etcd answers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		_, err := r.etcd.Client(t).Get(ctx, "/registry/")
		return err
	})
	if out, stderr, code := c.Supervisor(t.Context(), r.to...); code != exitFailure || !strings.Contains(stderr, strconv.Itoa(c.PID())) {
		t.Errorf("while the supervisor runs: code %d\n%s%s", code, out, stderr)
	}
	c.KubectlInput(t, `{"apiVersion":"v1","kind":"Event","metadata":{"name":"told","namespace":"default"},"involvedObject":{"namespace":"default"},"reason":"Told"}`, "create", "-f", "-")
	had := keep(t, &c.API)
	writers := startCreators(t, &c.API, keptGroup, 2)
	writers.awaitMore(t, 300)
	writers.stop()
	revisions := revisionsOf(t, &c.API)
	c.Stop(t)

	killed, half := 0, false
	for within := 400 * time.Millisecond; !r.killedWithin(t, within/2+rand.N(within/2)); within += within / 2 {
		killed++
		if r.servedFromOne(t, killed) && !half { // the supervisor starts where it did, sees all, and goes on
			half = true
			mistake{args: r.start, want: []string{"is not all there", "supervisor migrate to-etcd again"}}.check(t, r.dir)
			again := harness.Run(t, harness.Options{Dir: r.dir, Args: []string{encrypted}})
			had.foundBy(t, &again.API)
			had = had.andMore(t, &again.API, "half-way")
			revisions = revisionsOf(t, &again.API)
			again.Stop(t)
		}
		if killed == 30 {
			t.Fatal("it does not end")
		}
	}
	if t.Logf("%d were killed", killed); !half {
		t.Error("none was killed half way")
	}
	mistake{args: []string{encrypted}, want: []string{"its data was moved to another etcd", strings.Join(flags, " ")}}.check(t, r.dir)
	for _, command := range [][]string{r.to, {"snapshot", "save", harness.TempDir(t) + "/s.tar"}, {"migrate", "to-stock", "--to", harness.TempDir(t) + "/stock"}} {
		if out, stderr, code := c.Supervisor(t.Context(), command...); code != exitConfiguration || !strings.Contains(stderr, "was moved to another etcd") {
			t.Errorf("%v of what was moved: code %d\n%s%s", command[:2], code, out, stderr)
		}
	}
	lives(t, r.etcd, "/registry/events/default/told")
	other := &harness.Cluster{Dir: harness.TempDir(t)} // the same, but nobody knows that
	if err := os.CopyFS(other.Dir, os.DirFS(r.dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(other.Path("etcd", "moved.json")); err != nil {
		t.Fatal(err)
	}
	if out, stderr, code := other.Supervisor(t.Context(), r.to...); code != exitConfiguration || !strings.Contains(stderr, "--overwrite") {
		t.Errorf("to an etcd with data of another cluster: code %d\n%s%s", code, out, stderr)
	}

	ours := harness.Run(t, harness.Options{Dir: r.dir, Args: r.start})
	had.foundBy(t, &ours.API)
	writers.checkAll(t, gadgetNames(t, &ours.API, keptGroup), "the cluster of etcd")
	goneForward(t, &ours.API, revisions)
	if s, _, err := ours.Status(); err != nil || s.Etcd.PID != 0 {
		t.Errorf("an etcd runs beside: %+v %v", s.Etcd, err)
	}
	had = had.andMore(t, &ours.API, "in-the-cluster")
	ours.Stop(t)
	r.back(t, had, encrypted)
}

// andMore adds to what there is, and notes all of it.
func (k *kept) andMore(t *testing.T, api *harness.API, name string) *kept {
	t.Helper()
	api.Kubectl(t, "delete", "service", "another") // foundBy creates it
	api.Kubectl(t, "create", "configmap", name)
	createGadget(t, api, keptGroup, name)
	return &kept{uids: allUIDs(t, api), token: k.token}
}

// killedWithin runs the command, kills it after that time, and tells whether all was done before.
func (r *relocation) killedWithin(t *testing.T, d time.Duration) (done bool) {
	t.Helper()
	p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin("supervisor"), append(r.to, "--data-dir", r.dir)...))(t)
	select {
	case <-p.Exited():
		if code, err := p.Wait(soon); code != 0 {
			t.Fatalf("code %d, %v: %s", code, err, p.Output)
		}
		return true
	case <-time.After(d):
		p.Signal(syscall.SIGKILL)
		p.End(soon)
		return r.movedAt(t) != "" // and refuses to do it again
	}
}

// movedAt tells when the data was moved, "" if it was not.
func (r *relocation) movedAt(t *testing.T) string {
	t.Helper()
	var move struct{ At string }
	if data, err := os.ReadFile(r.dir + "/etcd/moved.json"); err == nil {
		if err := json.Unmarshal(data, &move); err != nil {
			t.Fatal(err)
		}
	}
	return move.At
}

// servedFromOne demands that no more than one of the two may be served from, and tells whether a part is
// there.
func (r *relocation) servedFromOne(t *testing.T, killed int) (half bool) {
	t.Helper()
	moved := r.movedAt(t)
	there := harness.Must(r.etcd.Client(t).Get(t.Context(), "/registry/", clientv3.WithPrefix(), clientv3.WithKeysOnly()))(t)
	arriving := false
	for _, kv := range there.Kvs {
		arriving = arriving || string(kv.Key) == "/registry/triptych/etcd-arriving"
	}
	t.Logf("killed the %d. time: %d keys are there, arriving %v, moved %q", killed, there.Count, arriving, moved)
	if there.Count > 0 && !arriving && moved == "" {
		t.Error("both may be served from")
	}
	return there.Count > 1 && moved == ""
}

// back takes it all back to the etcd that the supervisor runs.
func (r *relocation) back(t *testing.T, had *kept, encrypted string) {
	t.Helper()
	c := &harness.Cluster{Dir: r.dir}
	from := append([]string{"migrate", "to-embedded"}, r.to[2:]...)
	p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin("supervisor"), append(from, "--data-dir", r.dir)...))(t)
	harness.Eventually(t, soon, "it says that nobody is to serve from there", func() error {
		answer, err := r.etcd.Client(t).Get(t.Context(), "/registry/triptych/etcd-arriving")
		if err == nil && answer.Count == 0 {
			err = os.ErrNotExist
		}
		return err
	})
	p.Signal(syscall.SIGKILL)
	p.End(soon)
	mistake{args: r.start, want: []string{"supervisor migrate to-embedded"}}.check(t, r.dir)
	if out, stderr, code := c.Supervisor(t.Context(), append(from, "--replace")...); code != 0 {
		t.Fatalf("to-embedded: code %d\n%s%s", code, out, stderr)
	}
	last := harness.Run(t, harness.Options{Dir: r.dir, Args: []string{encrypted}})
	had.foundBy(t, &last.API)
	mistake{args: r.start, want: []string{"was moved to the etcd that a supervisor runs"}}.check(t, harness.TempDir(t))
}

// relocatedPaths are of all three processes.
var relocatedPaths = []string{"/api/v1/configmaps", gadgetsPath(keptGroup), "/apis/apiregistration.k8s.io/v1/apiservices"}

func revisionsOf(t *testing.T, api *harness.API) []string {
	t.Helper()
	var all []string
	for _, path := range relocatedPaths {
		all = append(all, resourceVersion(t, api, path))
	}
	return all
}

// goneForward demands that resource versions are above those of before, of which watches are told that
// they are too old.
func goneForward(t *testing.T, api *harness.API, before []string) {
	t.Helper()
	for i, now := range revisionsOf(t, api) {
		if harness.Must(strconv.Atoi(now))(t) <= harness.Must(strconv.Atoi(before[i]))(t) {
			t.Errorf("%s: the resource version was %s, and is %s", relocatedPaths[i], before[i], now)
		}
		got := api.Get(t, relocatedPaths[i]+"?watch=true&resourceVersion="+before[i]+"&timeoutSeconds=5")
		if got.Code != http.StatusGone && !strings.Contains(string(got.Body), `"code":410`) {
			t.Errorf("who watches %s from before is told %s", relocatedPaths[i], got)
		}
	}
}

// lives demands that a key ends by itself, and not soon.
func lives(t *testing.T, etcd *harness.Etcd, key string) {
	t.Helper()
	client := etcd.Client(t)
	answer := harness.Must(client.Get(t.Context(), key))(t)
	if len(answer.Kvs) != 1 || answer.Kvs[0].Lease == 0 {
		t.Fatalf("%s does not end: %v", key, answer.Kvs)
	}
	left := harness.Must(client.TimeToLive(t.Context(), clientv3.LeaseID(answer.Kvs[0].Lease)))(t)
	if left.TTL < 1800 || left.TTL > 2*3600 {
		t.Errorf("%s ends in %d s", key, left.TTL)
	}
}
