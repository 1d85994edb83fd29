package deploy

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

// The Deployments of the chart, run as a kubelet would run their pods, are one API: a pod more of a tier is found by the
// name of its Service and one less is not missed.
func TestPodsOfTheChartAreOneAPI(t *testing.T) {
	t.Parallel() // it waits more than it works
	etcd := harness.Must(harness.StartEtcd(harness.TempDir(t)))(t)
	t.Cleanup(func() { etcd.End(soon) })
	made := deployments(t, rendered(t, "etcd.servers={"+etcd.URL+"}", "etcd.secretName=etcd", "shutdownDelaySeconds=1", fmt.Sprintf("securePort=%d", harness.Must(harness.FreePort())(t))))
	k := &kubelet{
		dir:      harness.TempDir(t),
		services: filepath.Join(harness.TempDir(t), "hosts"),
		secrets: map[string]map[string]string{
			"pki":  sharedSecret(t),
			"etcd": {"ca.crt": read(t, etcd.CAFile), "tls.crt": read(t, etcd.CertFile), "tls.key": read(t, etcd.KeyFile)},
		},
	}
	harness.WriteFile(t, k.services, []byte("127.0.0.1 localhost\n"), 0o644)
	pods := map[string]*pod{}
	for name, d := range made {
		pods[name] = k.start(t, d)
	}
	for name, p := range pods {
		p.awaitReady(t, name)
	}
	head := pods["aggregator"]
	head.Kubectl(t, "--tls-server-name", installation+"."+space+".svc", "create", "configmap", "one")
	head.Kubectl(t, "get", "customresourcedefinitions")
	for name, p := range pods {
		if key := read(t, p.Path("pki", "sa.key")); (key == k.secrets["pki"]["sa.key"]) != (name == "core") {
			t.Errorf("the pod of %s does not have the service-account key that it should", name)
		}
	}

	another := k.start(t, made["core"])
	another.awaitReady(t, "another core")
	head.WaitStatus(t, soon, "the head finds both", func(s harness.Status) bool { return readyIn(s, tier.Core) == 2 })
	load := harness.MustLoad(t, head.Config(t), 4, []string{"/api/v1/namespaces/default/configmaps/one"}, harness.IsOK)
	k.forget(t, pods["core"])
	pods["core"].Stop(t)
	before := load.Answered()
	harness.Eventually(t, soon, "it is served without the first", func() error { return more(load, before+20) })
	if seen := load.Stop(); len(seen.Failures) > 0 {
		t.Errorf("of %d requests failed:\n%s", seen.OK(), strings.Join(seen.Failures, "\n"))
	}
	head.WaitStatus(t, soon, "the head knows one", func(s harness.Status) bool { return readyIn(s, tier.Core) == 1 })
	for name, p := range pods {
		if name != "core" && !harness.Alive(p.PID()) {
			t.Errorf("the pod of %s has ended", name)
		}
	}
}

// readyIn counts the replicas of a tier that are ready, here or elsewhere.
func readyIn(s harness.Status, name tier.Name) (n int) {
	for _, t := range s.Tiers {
		for _, r := range t.Replicas {
			if t.Name == string(name) && r.Stage == string(tier.Ready) {
				n++
			}
		}
	}
	return n
}

// sharedSecret is the Secret that docs/how-to/run-in-a-cluster.md has people make.
func sharedSecret(t *testing.T) map[string]string {
	t.Helper()
	from, secret := sharedPKI(t), map[string]string{}
	for _, file := range []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "internal/ca.crt", "internal/ca.key", "sa.key", "sa.pub"} {
		secret[strings.ReplaceAll(file, "/", "-")] = read(t, filepath.Join(from, file))
	}
	return secret
}

// kubelet runs pods as processes of this machine: with a loopback address, a hostname and a user of their own, the root file system read-only,
// and what the API would have handed a kubelet.
type kubelet struct {
	dir string
	// services is a file of the addresses behind each headless Service, in the form of hosts(5).
	services string
	secrets  map[string]map[string]string
	started  int
}

// pod is one that was started, with its data directory.
type pod struct {
	*harness.Cluster
	ip        string
	container corev1.Container
}

// sealed runs a program in a file system that is read-only but for one folder, as a user without rights. Its arguments are the
// hostname, the file of hosts, the folder, the user and the program with its own.
const sealed = `set -e; hostname "$1"; mount --bind "$2" /etc/hosts; mount --bind "$3" "$3"; mount -o remount,bind,ro /; user=$4; shift 4
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set=-all "$@"`

func (k *kubelet) start(t *testing.T, d appsv1.Deployment) *pod {
	t.Helper()
	k.started++
	name := fmt.Sprintf("%s-%d", d.Name, k.started)
	spec := d.Spec.Template.Spec.DeepCopy()
	p := &pod{ip: fmt.Sprintf("127.98.%d.%d", os.Getpid()%250+1, k.started), container: spec.Containers[0]}
	user := int(*spec.SecurityContext.RunAsUser)
	inPlace, state := []string{"$(POD_IP)", p.ip, p.container.Command[0], harness.Bin("supervisor")}, ""
	for _, mount := range p.container.VolumeMounts {
		i := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		folder := filepath.Join(k.dir, name, mount.Name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		inPlace = append(inPlace, mount.MountPath, folder)
		if spec.Volumes[i].Secret != nil {
			k.project(t, spec.Volumes[i].Secret, folder, user)
			continue
		}
		state = folder
		if err := errors.Join(os.Chown(folder, 0, user), os.Chmod(folder, 0o2777|os.ModeSetgid)); err != nil {
			t.Fatal(err)
		}
	}
	put := strings.NewReplacer(inPlace...)
	for _, all := range [][]string{p.container.Command, p.container.Args, p.container.LivenessProbe.Exec.Command} {
		for i := range all {
			all[i] = put.Replace(all[i])
		}
	}
	if probe := p.container.ReadinessProbe.Exec; probe != nil {
		for i := range probe.Command {
			probe.Command[i] = put.Replace(probe.Command[i])
		}
	}
	_, data, _ := strings.Cut(strings.Join(p.container.Args, " "), "--data-dir=")
	data, _, _ = strings.Cut(data, " ")
	k.remember(t, d, p)
	args := append([]string{"--mount", "--uts", "sh", "-c", sealed, "sh", name, k.services, state, fmt.Sprint(user)}, append(p.container.Command, p.container.Args...)...)
	process := harness.Must(harness.StartProcess(syscall.SIGTERM, nil, installed(t, "unshare", "util-linux"), args...))(t)
	p.Cluster = &harness.Cluster{Process: process, Dir: data, API: harness.API{Kubeconfig: filepath.Join(data, "admin.kubeconfig")}, Started: time.Now()}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(p.KeepLogs(t.Name() + "-" + name))
		}
	})
	return p
}

// project writes what a volume takes of a Secret.
func (k *kubelet) project(t *testing.T, from *corev1.SecretVolumeSource, folder string, group int) {
	t.Helper()
	items := map[string]string{}
	for _, item := range from.Items {
		items[item.Path] = item.Key
	}
	if from.Items == nil {
		for key := range k.secrets[from.SecretName] {
			items[key] = key
		}
	}
	for path, key := range items {
		content, there := k.secrets[from.SecretName][key]
		if !there {
			t.Fatalf("there is no %s in the Secret %s", key, from.SecretName)
		}
		file := filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		harness.WriteFile(t, file, []byte(content), 0o600)
		if err := errors.Join(os.Chown(file, 0, group), os.Chmod(file, os.FileMode(*from.DefaultMode))); err != nil {
			t.Fatal(err)
		}
	}
}

// remember has the pod's address behind its tier's Service, before it is ready.
func (k *kubelet) remember(t *testing.T, d appsv1.Deployment, p *pod) {
	t.Helper()
	line := fmt.Sprintf("%s %s.%s.svc\n", p.ip, d.Name, space)
	harness.WriteFile(t, k.services, []byte(read(t, k.services)+line), 0o644)
}

// forget has it there no more.
func (k *kubelet) forget(t *testing.T, p *pod) {
	t.Helper()
	rest := slices.DeleteFunc(strings.SplitAfter(read(t, k.services), "\n"), func(line string) bool { return strings.HasPrefix(line, p.ip+" ") })
	harness.WriteFile(t, k.services, []byte(strings.Join(rest, "")), 0o644)
}

// awaitReady waits until the pod's own probes say so.
func (p *pod) awaitReady(t *testing.T, what string) {
	t.Helper()
	harness.Eventually(t, harness.StartBound, what+" is ready", func() error {
		if code, err := p.Wait(0); err == nil {
			return fmt.Errorf("it has ended with %d: %s", code, p.Output)
		}
		for _, probe := range []*corev1.Probe{p.container.LivenessProbe, p.container.ReadinessProbe} {
			if err := p.ask(t, probe); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *pod) ask(t *testing.T, probe *corev1.Probe) error {
	if get := probe.HTTPGet; get != nil {
		ports := map[string]int32{}
		for _, port := range p.container.Ports {
			ports[port.Name] = port.ContainerPort
		}
		anonymous := p.Anonymous(t)
		anonymous.Host = fmt.Sprintf("%s://127.0.0.1:%d", strings.ToLower(string(get.Scheme)), ports[get.Port.StrVal])
		answer, err := harness.Send(t.Context(), anonymous, http.MethodGet, get.Path, "")
		if err == nil && answer.Code != http.StatusOK {
			err = fmt.Errorf("%s", answer)
		}
		return err
	}
	if out, err := command(t, probe.Exec.Command[0], probe.Exec.Command[1:]...); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
