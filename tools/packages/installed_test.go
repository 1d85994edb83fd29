package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"triptych.dev/triptych/tools/linked"
	"triptych.dev/triptych/tools/watching"
)

// soon bounds what takes seconds, on a machine that is busy.
const soon = 4 * time.Minute

// debian is a folder that dpkg takes for the root of a machine with nothing on it.
type debian struct{ root string }

func newDebian(t *testing.T) debian {
	t.Helper()
	// Not below the test's folder: the path of a socket in it is limited, and other users have to pass.
	root, err := os.MkdirTemp("", "triptych-root")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	d := debian{root}
	for _, folder := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log", "etc"} {
		if err := os.MkdirAll(d.path(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path("var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d debian) path(name string) string { return filepath.Join(d.root, name) }

// dpkg runs maintainer scripts outside of the root, which they know by DPKG_ROOT.
func (d debian) dpkg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("dpkg", append([]string{"--root=" + d.root, "--force-script-chrootless", "--log=" + d.path("var/log/dpkg.log")}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("dpkg %v: %v\n%s", args, err, out)
	}
}

// there tells which of some files exist, links of which the target is elsewhere too.
func (d debian) there(names ...string) (there []string) {
	for _, name := range names {
		if _, err := os.Lstat(d.path(name)); err == nil {
			there = append(there, name)
		}
	}
	return there
}

// The package of the programs in bin/ is installed, its unit is valid and what it starts becomes
// ready and has the metrics that are asked for; removed it leaves configuration and data, and purged nothing.
func TestTheDebIsInstalledRunsAndLeaves(t *testing.T) {
	deb := written(t, of(t, filepath.Join(root, "bin"), "amd64"), "deb")[0]
	d := newDebian(t)
	d.dpkg(t, "--install", deb)
	programs := []string{"usr/lib/triptych/supervisor", "usr/lib/triptych/core", "usr/lib/triptych/extensions", "usr/lib/triptych/aggregator", "usr/lib/triptych/tiers", "usr/bin/supervisor",
		"usr/lib/systemd/system/triptych.service", "usr/share/bash-completion/completions/supervisor", "usr/share/zsh/vendor-completions/_supervisor", "usr/share/fish/vendor_completions.d/supervisor.fish",
		"usr/share/man/man8/supervisor.8.gz", "usr/share/man/man8/supervisor-trace.8.gz"}
	configuration := []string{"etc/triptych/triptych.yaml", "etc/default/triptych"}
	if there := d.there(append(programs, configuration...)...); len(there) != len(programs)+len(configuration) {
		t.Fatalf("only %q are installed", there)
	}
	if target, err := os.Readlink(d.path("usr/bin/supervisor")); err != nil || target != "/usr/lib/triptych/supervisor" {
		t.Errorf("the command is a link to %q (%v)", target, err)
	}
	for _, tier := range linked.Tiers {
		if target, err := os.Readlink(d.path("usr/lib/triptych/" + tier)); err != nil || target != linked.TiersFile {
			t.Errorf("%s is a link to %q (%v)", tier, target, err)
		}
	}
	if links, _ := filepath.Glob(d.path("etc/systemd/system/*.wants/*")); len(links) > 0 {
		t.Errorf("it is enabled: %q", links)
	}
	if users := string(readFile(t, d.path("etc/passwd"))); strings.Count(users, "triptych-") < 3 {
		t.Errorf("the units' users are not made:\n%s", users)
	}
	d.verify(t, map[string]string{"triptych.service": "triptych.service", "triptych@core.service": "triptych@.service"})
	d.run(t)

	data := d.path("var/lib/triptych")
	if err := os.MkdirAll(filepath.Join(data, "etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	wants := d.path("etc/systemd/system/multi-user.target.wants/triptych.service")
	if err := os.MkdirAll(filepath.Dir(wants), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/systemd/system/triptych.service", wants); err != nil {
		t.Fatal(err)
	}
	d.dpkg(t, "--remove", "triptych")
	if there := d.there(programs...); len(there) > 0 {
		t.Errorf("removed, it leaves %q", there)
	}
	if there := d.there(append(configuration, "var/lib/triptych/etcd")...); len(there) != 3 {
		t.Errorf("removed, it leaves only %q of configuration and data", there)
	}
	d.dpkg(t, "--purge", "triptych")
	if there := d.there("etc/triptych", "etc/default/triptych", "var/lib/triptych", "etc/systemd/system/multi-user.target.wants/triptych.service"); len(there) > 0 {
		t.Errorf("purged, it leaves %q", there)
	}
}

// verify has systemd read units, by the names of instances, but for where the root is.
func (d debian) verify(t *testing.T, units map[string]string) {
	t.Helper()
	for name, file := range units {
		unit := filepath.Join(t.TempDir(), name)
		content := strings.ReplaceAll(string(readFile(t, d.path("usr/lib/systemd/system/"+file))), programFolder, d.path(programFolder))
		if strings.Contains(content, unitFolder) || !strings.Contains(content, d.path(programFolder)) {
			t.Errorf("%s starts programs from elsewhere", file)
		}
		if err := os.WriteFile(unit, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
}

// run starts what the unit starts, with the configuration that is installed, until systemd would
// be told that it is ready, and stops it.
func (d debian) run(t *testing.T) {
	t.Helper()
	unit := string(readFile(t, d.path("usr/lib/systemd/system/triptych.service")))
	start := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	flags := regexp.MustCompile(`(?m)^TRIPTYCH_FLAGS="(.*)"$`).FindStringSubmatch(string(readFile(t, d.path("etc/default/triptych"))))
	if start == nil || flags == nil {
		t.Fatalf("the unit starts %q with %q", start, flags)
	}
	data, err := os.MkdirTemp("", "triptych-data")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(data)
	if err := os.Chmod(data, 0o711); err != nil { // as StateDirectoryMode= has it
		t.Fatal(err)
	}
	here := strings.NewReplacer("/usr/lib/triptych", d.path("usr/lib/triptych"), "/var/lib/triptych", data, "$TRIPTYCH_FLAGS", strings.ReplaceAll(flags[1], "/etc/triptych", d.path("etc/triptych")))
	// The port of the configuration may be taken here.
	args := append(strings.Fields(here.Replace(start[1])), "--secure-port=0", "--bind-address=127.0.0.1")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(data, "..", filepath.Base(data)+".notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(notify.LocalAddr().String())
	defer notify.Close()
	cmd := exec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	cmd.Stdout, cmd.Stderr = log, log
	// It takes all that it started along, even if this test is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	err = heard(ctx, notify, "READY=1", ended)
	if err == nil {
		err = watched(ctx, d, data)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, readFile(t, log.Name()))
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the stop: %v\n%s", err, readFile(t, log.Name()))
		}
	case <-time.After(soon):
		t.Error("it does not stop")
		_ = cmd.Process.Kill()
		<-ended
	}
}

// watched asks the supervisor by its command whether it is as ready as it has told, and whether
// what runs has all metrics that alerts and dashboard ask for.
func watched(ctx context.Context, d debian, data string) error {
	out, err := exec.CommandContext(ctx, d.path("usr/lib/triptych/supervisor"), "status", "--data-dir", data).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Phase: Ready") {
		return fmt.Errorf("status: %w\n%s", err, out)
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		return err
	}
	for { // some metrics begin with the first request that they count
		exposition, err := exec.CommandContext(ctx, filepath.Join(root, "bin", "kubectl"), "--kubeconfig", filepath.Join(data, "admin.kubeconfig"), "get", "--raw", "/metrics").Output()
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		missing, err := watching.Missing(filepath.Join(root, "deploy"), string(exposition), string(document))
		if err != nil || len(missing) == 0 {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("metrics: %s", strings.Join(missing, "\n"))
		}
	}
}

// heard waits until a message on the socket has a line.
func heard(ctx context.Context, socket *net.UnixConn, line string, ended chan error) error {
	told := make(chan error, 1)
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := socket.Read(message)
			if err != nil {
				told <- err
				return
			}
			for _, l := range strings.Split(string(message[:n]), "\n") {
				if l == line {
					told <- nil
					return
				}
			}
		}
	}()
	select {
	case err := <-told:
		return err
	case err := <-ended:
		ended <- err // whoever waits for the end next
		return fmt.Errorf("it has ended (%v) before %s", err, line)
	case <-ctx.Done():
		return fmt.Errorf("%s was never told: %w", line, ctx.Err())
	}
}
