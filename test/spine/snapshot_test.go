package spine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// A snapshot that is taken under write load holds every write that was acknowledged before.
// Restored elsewhere it serves all of them, with keys, tokens and the encryption configuration, and clients
// that watched before are told that they are too old. What is damaged, cut short or for another key is
// refused, and so is what would overwrite anything. A restore that is killed is done or forgotten.
func TestASnapshotUnderLoadIsRestoredWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	encryption := harness.TempDir(t) + "/encryption.yaml"
	const group = "saved.example.com"
	harness.WriteFile(t, encryption, (&sealed{}).encryptionConfig("secrets = aescbc/secrets identity", "gadgets."+group+" = secretbox/gadgets identity"), 0o600)
	inTheWay := harness.TempDir(t) + "/file"
	harness.WriteFile(t, inTheWay, nil, 0o600)
	c := harness.Run(t, harness.Options{Args: []string{
		"--encryption-provider-config=" + encryption, "--snapshot-schedule=6h", "--snapshot-dir=" + inTheWay,
	}})
	installCRD(t, &c.API, group)
	c.Kubectl(t, "create", "secret", "generic", "kept", "--from-literal=key=value")
	c.Kubectl(t, "create", "serviceaccount", "kept")
	token := strings.TrimSpace(c.Kubectl(t, "create", "token", "kept"))
	writers := startCreators(t, &c.API, group, 2)
	writers.awaitMore(t, 20)

	keys := age.X25519Identity{}
	identity := harness.Must(age.GenerateX25519Identity())(t)
	keys = *identity
	folder := harness.TempDir(t)
	public, private, wrong, file := folder+"/public", folder+"/private", folder+"/wrong", folder+"/s.tar.age"
	harness.WriteFile(t, public, []byte(keys.Recipient().String()+"\n"), 0o600)
	harness.WriteFile(t, private, []byte(keys.String()+"\n"), 0o600)
	harness.WriteFile(t, wrong, []byte(harness.Must(age.GenerateX25519Identity())(t).String()+"\n"), 0o600)

	acknowledged := writers.names()
	out, stderr, code := c.Supervisor(t.Context(), "snapshot", "save", file, "--recipients", public)
	if code != 0 || !strings.Contains(out, file) {
		t.Fatalf("save: code %d\n%s%s", code, out, stderr)
	}
	writers.awaitMore(t, 5)
	revision := resourceVersion(t, &c.API, gadgetsPath(group))

	t.Run("failures of the schedule are told", func(t *testing.T) {
		s := c.WaitStatus(t, soon, "the failure is in the status", func(s harness.Status) bool {
			return s.Snapshots != nil && s.Snapshots.Problem != "" && s.Snapshots.Failures > 0
		})
		if !strings.Contains(s.Snapshots.Problem, inTheWay) || s.Snapshots.Next == nil || time.Until(*s.Snapshots.Next) > 10*time.Minute {
			t.Errorf("%+v", s.Snapshots)
		}
		if _, stderr, code := c.Supervisor(t.Context(), "snapshot", "schedule"); code != exitFailure || !strings.Contains(stderr, inTheWay) {
			t.Errorf("schedule exits with %d: %s", code, stderr)
		}
		harness.Eventually(t, soon, "the log tells of it", func() error { return c.Output.Contains("warning: snapshot: ") })
	})
	t.Run("what is not whole is refused", func(t *testing.T) { damagedSnapshots(t, file, private, wrong) })
	t.Run("nothing that runs is overwritten", func(t *testing.T) {
		if _, stderr, code := c.Supervisor(t.Context(), "snapshot", "restore", "--replace", "--identity-file", private, file); code != exitFailure || !strings.Contains(stderr, fmt.Sprint(c.PID())) {
			t.Errorf("restore over a running one exits with %d: %s", code, stderr)
		}
		if _, stderr, code := c.Supervisor(t.Context(), "snapshot", "save", file); code != exitConfiguration || !strings.Contains(stderr, "is there already") {
			t.Errorf("save over a file exits with %d: %s", code, stderr)
		}
	})
	writers.stop()
	c.Stop(t)

	other := &harness.Cluster{Dir: harness.TempDir(t)}
	killedRestores(t, other, file, private)
	t.Run("nothing that is there is overwritten unasked", func(t *testing.T) {
		if _, stderr, code := other.Supervisor(t.Context(), "snapshot", "restore", "--identity-file", private, file); code != exitConfiguration || !strings.Contains(stderr, "--replace") {
			t.Errorf("restore over data exits with %d: %s", code, stderr)
		}
	})
	kept := keptBySchedule(t, other.Path("snapshots"))
	d := harness.Run(t, harness.Options{Dir: other.Dir, Args: []string{
		"--config=" + other.Path("restored", "supervisor.yaml"), "--snapshot-schedule=6h", "--snapshot-keep=2",
	}})
	there := gadgetNames(t, &d.API, group)
	for name := range acknowledged {
		if !there[name] {
			t.Errorf("%s was acknowledged before the snapshot, and is not in it", name)
		}
	}
	if got := d.Get(t, "/api/v1/namespaces/default/secrets/kept"); !strings.Contains(string(got.Body), `"key":"dmFsdWU="`) {
		t.Errorf("the secret: %s", got)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	review = harness.Must(d.Clientset(t).AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{}))(t)
	if review.Status.User.Username != "system:serviceaccount:default:kept" {
		t.Errorf("the token: %+v", review.Status)
	}
	for _, path := range []string{gadgetsPath(group), "/api/v1/configmaps"} {
		if got := d.Get(t, path+"?watch=true&resourceVersion="+revision+"&timeoutSeconds=1"); !strings.Contains(string(got.Body), `"code":410`) {
			t.Errorf("who watches %s from before is told %s", path, got)
		}
	}
	if now := resourceVersion(t, &d.API, gadgetsPath(group)); len(now) <= len(revision) {
		t.Errorf("the resource version was %s, and is %s", revision, now)
	}
	createGadget(t, &d.API, group, "after")
	if got := d.Path("snapshots"); kept != nil {
		d.WaitStatus(t, soon, "a snapshot is taken by schedule", func(s harness.Status) bool {
			return s.Snapshots != nil && s.Snapshots.Last != nil && time.Since(s.Snapshots.Last.Taken) < harness.StartBound
		})
		checkKept(t, d, got, kept)
	}
}

// resourceVersion is that of a list.
func resourceVersion(t *testing.T, api *harness.API, path string) string {
	t.Helper()
	var list metav1.PartialObjectMetadataList
	api.Get(t, path).Into(t, &list)
	return list.ResourceVersion
}

// names are the gadgets that were acknowledged so far.
func (c *creators) names() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]bool{}
	for name := range c.created {
		all[name] = true
	}
	return all
}

func (c *creators) stop() {
	c.cancel()
	c.wait.Wait()
}

func damagedSnapshots(t *testing.T, file, private, wrong string) {
	whole := harness.Must(os.ReadFile(file))(t)
	changed := append([]byte{}, whole...)
	changed[len(changed)/2] ^= 1
	bad := harness.TempDir(t)
	harness.WriteFile(t, bad+"/changed", changed, 0o600)
	harness.WriteFile(t, bad+"/short", whole[:len(whole)*2/3], 0o600)
	dir := harness.TempDir(t)
	for name, c := range map[string]struct {
		path, key, want string
		code            int
	}{
		"whole":     {file, private, "", 0},
		"changed":   {bad + "/changed", private, "cannot use the snapshot", exitFailure},
		"cut short": {bad + "/short", private, "cut short", exitFailure},
		"wrong key": {file, wrong, "another key", exitFailure},
	} {
		out, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "snapshot", "verify", "--identity-file", c.key, "-o", "json", c.path)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("verify of %s exits with %d: %s%s", name, code, out, stderr)
		}
		var told struct {
			Etcd struct{ Revision, Keys int64 }
		}
		if code == 0 && (json.Unmarshal([]byte(out), &told) != nil || told.Etcd.Keys < 20 || told.Etcd.Revision < 20) {
			t.Errorf("verify of %s: %s", name, out)
		}
		if c.code == 0 {
			continue
		}
		if _, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "snapshot", "restore", "--data-dir", dir, "--identity-file", c.key, c.path); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("restore of %s exits with %d: %s", name, code, stderr)
		}
	}
	for _, left := range []string{"etcd/member", "pki/ca.key", "staging"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("a refused restore has left %s", left)
		}
	}
}

// killedRestores kills restores sooner and later, and ends with one that is done. In between there
// is all of it or nothing once somebody opens the directory.
func killedRestores(t *testing.T, c *harness.Cluster, file, private string) {
	t.Helper()
	whole, began := time.Duration(0), time.Now()
	killed := 0
	for i := range 6 {
		p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin("supervisor"), "snapshot", "restore", "--replace", "--data-dir", c.Dir, "--identity-file", private, file))(t)
		began = time.Now()
		if i == 0 { // how long a whole one takes
			if code, err := p.Wait(harness.StartBound); code != 0 {
				t.Fatalf("restore: code %d, %v: %s", code, err, p.Output)
			}
			whole = time.Since(began)
			continue
		}
		select {
		case <-p.Exited():
		case <-time.After(whole * time.Duration(i) / 6):
			killed++
			p.Signal(syscall.SIGKILL)
		}
		if err := p.End(soon); err != nil {
			t.Error(err)
		}
		_, member := os.Stat(c.Path("etcd", "member"))
		_, key := os.Stat(c.Path("pki", "ca.key"))
		_, journal := os.Stat(c.Path("replace.json"))
		if (member == nil && key == nil) == (journal == nil) && journal != nil {
			t.Errorf("killed after %d sixths: etcd %v, key %v, journal %v", i, member, key, journal)
		}
	}
	t.Logf("a restore takes %s; %d were killed", whole, killed)
	out, stderr, code := c.Supervisor(t.Context(), "snapshot", "restore", "--replace", "--identity-file", private, file)
	if code != 0 {
		t.Fatalf("restore after those that were killed: code %d\n%s%s", code, out, stderr)
	}
	if aside, _ := filepath.Glob(c.Path("replaced-*", "etcd", "member")); len(aside) == 0 {
		t.Error("nothing that was replaced is kept")
	}
}

// keptBySchedule puts older snapshots of a schedule where the next one will be, and a file
// that is none of its own.
func keptBySchedule(t *testing.T, folder string) []string {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"triptych-20200101T000000Z.tar", "triptych-20200102T000000Z.tar.age", "triptych-20200103T000000Z.tar", "mine.tar"} {
		harness.WriteFile(t, filepath.Join(folder, name), []byte("old"), 0o600)
	}
	return []string{"mine.tar", "triptych-20200103T000000Z.tar"}
}

func checkKept(t *testing.T, c *harness.Cluster, folder string, kept []string) {
	t.Helper()
	harness.Eventually(t, soon, "the oldest are removed", func() error {
		entries, err := os.ReadDir(folder)
		var left, fresh []string
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), "triptych-2020") || entry.Name() == "mine.tar" {
				left = append(left, entry.Name())
			} else {
				fresh = append(fresh, entry.Name())
			}
		}
		if err == nil && (fmt.Sprint(left) != fmt.Sprint(kept) || len(fresh) != 1) {
			err = fmt.Errorf("left %v, fresh %v", left, fresh)
		}
		if err != nil {
			return err
		}
		if out, stderr, code := harness.Command(t.Context(), harness.Bin("supervisor"), "snapshot", "verify", filepath.Join(folder, fresh[0])); code != 0 {
			return fmt.Errorf("verify exits with %d: %s%s", code, out, stderr)
		}
		return nil
	})
	if out, stderr, code := c.Supervisor(t.Context(), "snapshot", "schedule"); code != 0 || !strings.Contains(out, "triptych-20200103T000000Z.tar") {
		t.Errorf("schedule exits with %d: %s%s", code, out, stderr)
	}
	areDocumented(t, &c.API, func(name string) bool { return strings.HasPrefix(name, "triptych_snapshot_") })
}
