package spine

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"triptych.dev/triptych/internal/supervisor/security"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// securityRow is a line of `supervisor security -o json`.
type securityRow struct {
	Process, What, Want, Is string
	OK                      bool
}

func securityOf(t *testing.T, c *harness.Cluster) (rows []securityRow, code int) {
	t.Helper()
	stdout, stderr, code := c.Supervisor(t.Context(), "security", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &rows); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	return rows, code
}

// openedBy returns which of the paths a user can open, by a program that is that user.
func openedBy(t *testing.T, uid uint32, paths []string) map[string]bool {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `while read -r p; do if [ -r "$p" ] && : < "$p"; then echo "$p"; fi; done 2>/dev/null`)
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\n") + "\n")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	opened := map[string]bool{}
	for _, path := range lines(string(out)) {
		opened[path] = true
	}
	return opened
}

// As each process' user every file of the data directory is opened: the original of a secret by nobody, its copy
// by who holds it, what others are handed by nobody else.
func TestEachProcessReadsItsOwnAlone(t *testing.T) {
	c := harness.Shared(t)
	status, _, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	err = filepath.WalkDir(c.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return nil // what has gone meanwhile is nobody's
	})
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	pids := map[string]int{"etcd": status.Etcd.PID}
	for _, name := range tier.Order {
		pids[string(name)] = status.Replica(string(name)).PID
	}
	seen := map[uint32]string{0: "root"}
	for name, pid := range pids {
		info := harness.Must(os.Stat(fmt.Sprintf("/proc/%d/task", pid)))(t)
		uid := uidOf(t, pid)
		if other, twice := seen[uid]; twice {
			t.Errorf("%s is the user of %s: %v", name, other, info.Mode())
		}
		seen[uid] = name
		opened := openedBy(t, uid, files)
		for path := range opened {
			if !strings.HasPrefix(path, c.Path("run", name)+"/") && !(name == "etcd" && strings.HasPrefix(path, c.Path("etcd")+"/")) {
				t.Errorf("%s can open %s", name, path)
			}
		}
		for _, thing := range security.Things(tier.Aggregator) {
			if _, err := os.Stat(c.Path(thing.Name)); !thing.File || err != nil {
				continue
			}
			handed := c.Path("run", name, filepath.Base(filepath.Dir(thing.Name))+"-"+filepath.Base(thing.Name))
			if opened[handed] != thing.Holds(name) {
				t.Errorf("%s: %s can be opened: %v, want %v", name, handed, opened[handed], thing.Holds(name))
			}
		}
	}
	rows, code := securityOf(t, c)
	for _, r := range rows {
		if !r.OK {
			t.Errorf("a gap: %+v", r)
		}
	}
	if code != 0 || len(rows) < 4*20 {
		t.Errorf("security exits with %d and prints %d rows", code, len(rows))
	}
	if len(status.Isolation.Missing) > 0 || !status.Isolation.Users {
		t.Errorf("%+v", status.Isolation)
	}
}

func uidOf(t *testing.T, pid int) (uid uint32) {
	t.Helper()
	for _, line := range lines(string(harness.Must(os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)))(t))) {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if _, err := fmt.Sscan(rest, &uid); err != nil {
				t.Fatal(err)
			}
		}
	}
	return uid
}

// Turned off, it is said, and it works.
func TestWhatIsMissingIsSaid(t *testing.T) {
	t.Parallel()
	c := harness.Run(t, harness.Options{Args: []string{"--user-range=off", "--sandbox=off"}})
	for _, said := range []string{"--user-range=off: all processes run as root", "--sandbox=off"} {
		if err := c.Output.Contains(said); err != nil {
			t.Error(err)
		}
		if stdout, _, code := c.Supervisor(t.Context(), "status"); code != 0 || !strings.Contains(stdout, said) {
			t.Errorf("status exits with %d and prints %s", code, stdout)
		}
	}
	rows, code := securityOf(t, c)
	gaps := map[string]bool{}
	for _, r := range rows {
		if !r.OK && r.Process == "core-0" {
			gaps[r.What] = true
		}
	}
	if code != 1 || !gaps["user"] || !gaps["capabilities"] || !gaps["system calls"] || !gaps["pki/ca.key"] {
		t.Errorf("security exits with %d and finds %v", code, gaps)
	}
}

// A folder that others cannot enter, such as a checkout of root's, is said and not refused unless users were asked for.
func TestWhereUsersCannotGoAllRunAsRootAndItIsSaid(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(harness.TempDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range tier.Order {
		if err := os.Symlink(harness.Bin(string(name)), filepath.Join(closed, string(name))); err != nil {
			t.Fatal(err)
		}
	}
	c := harness.Run(t, harness.Options{Args: []string{"--bin-dir=" + closed}})
	c.WaitReady(t)
	const said = "all processes run as root"
	if stdout, _, _ := c.Supervisor(t.Context(), "status"); !strings.Contains(stdout, said) || !strings.Contains(stdout, "chmod o+x "+closed) {
		t.Errorf("status prints %s", stdout)
	}
	if _, code := securityOf(t, c); code != 1 {
		t.Errorf("security exits with %d", code)
	}
}

// Data of root becomes etcd's, and of root again, and nothing is lost on the way.
func TestDataOfRootIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := harness.TempDir(t)
	for i, arg := range []string{"--user-range=off", "--user-range=65200-65299", "--user-range=65300-65399", "--user-range=off"} {
		c := harness.Run(t, harness.Options{Dir: dir, Args: []string{arg}})
		name := fmt.Sprint("kept-", i)
		c.Kubectl(t, "create", "configmap", name, "--from-literal=a=b")
		for j := range i + 1 {
			c.Kubectl(t, "get", "configmap", fmt.Sprint("kept-", j))
		}
		c.Stop(t)
	}
}

func TestMistakenIsolation(t *testing.T) {
	t.Parallel()
	closedDir := filepath.Join(t.TempDir(), "data") // below a folder of the test's alone
	kubeconfig := filepath.Join(harness.TempDir(t), "kubeconfig")
	harness.WriteFile(t, kubeconfig, []byte("apiVersion: v1\nkind: Config\nusers: [{name: a, user: {exec: {command: aws, apiVersion: client.authentication.k8s.io/v1}}}]\n"), 0o600)
	checkMistakes(t, map[string]mistake{
		"no range":     {args: []string{"--user-range=5"}, want: []string{"--user-range", "FIRST-LAST"}},
		"too few":      {args: []string{"--user-range=65000-65001"}, want: []string{"--user-range", "at least 4"}},
		"root":         {args: []string{"--user-range=0-100"}, want: []string{"--user-range", "above 0"}},
		"no such user": {args: []string{"--tier-user=core=none-1,extensions=none-2,aggregator=none-3,etcd=none-4"}, want: []string{"--tier-user", "useradd"}},
		"not all":      {args: []string{"--tier-user=core=nobody"}, want: []string{"--tier-user", "etcd"}},
		"no sandbox":   {args: []string{"--sandbox=maybe"}, want: []string{"--sandbox", "enforce"}},
		"few threads":  {args: []string{"--pids-limit=core=1"}, want: []string{"--pids-limit", "at least"}},
		"no way":       {args: []string{"--user-range=65000-65499", "--data-dir=" + closedDir}, want: []string{"cannot enter", "chmod o+x", "--user-range=off"}},
		"root in part": {want: []string{"CAP_SETUID", "--user-range=off"}, in: func(_ string, cmd *exec.Cmd) {
			without := harness.Must(exec.LookPath("setpriv"))(t)
			cmd.Args = append([]string{without, "--bounding-set=-setuid", cmd.Path}, cmd.Args[1:]...)
			cmd.Path = without
		}},
		"runs a program": {args: []string{"--audit-webhook-config-file=" + kubeconfig}, want: []string{kubeconfig, "exec", "--sandbox=off"}},
	})
}

// Without root there is one user, it is said, and the sandbox still keeps each process to its own files.
func TestWithoutRootTheSandboxKeepsProcessesApart(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	dir := filepath.Join(harness.TempDir(t), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartProcess(syscall.SIGTERM, nil, harness.Must(exec.LookPath("setpriv"))(t), "--reuid=65534", "--regid=65534", "--clear-groups",
		harness.Bin("supervisor"), "run", "--data-dir", dir, "--secure-port=0")
	if err != nil {
		t.Fatal(err)
	}
	c := &harness.Cluster{Process: p, Dir: dir, API: harness.API{Kubeconfig: filepath.Join(dir, "admin.kubeconfig")}}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	c.WaitReady(t)
	c.Kubectl(t, "create", "configmap", "without-root")
	if stdout, _, _ := c.Supervisor(t.Context(), "status"); !strings.Contains(stdout, "start the supervisor as root") {
		t.Errorf("status prints %s", stdout)
	}
	rows, code := securityOf(t, c)
	for _, r := range rows {
		ok := r.What != "user" && r.What != "capabilities" && r.What != "mounts" // those take root
		if ok && !r.OK {
			t.Errorf("a gap: %+v", r)
		}
	}
	if code != 1 || len(rows) < 4*20 {
		t.Errorf("security exits with %d and prints %d rows", code, len(rows))
	}
}
