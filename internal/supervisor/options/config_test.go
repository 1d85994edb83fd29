package options

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/tier"
)

const header = "apiVersion: " + APIVersion + "\nkind: " + Kind + "\n"

// write writes configuration files, by path below a new folder, and returns that.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(header+content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func valueOf(o *Options, setting string) Setting {
	for _, s := range o.List() {
		if s.Name == setting {
			return s
		}
	}
	return Setting{}
}

func TestLaterFilesAreLaidOverEarlierOnes(t *testing.T) {
	d := write(t, map[string]string{
		"c.yaml":           "securePort: 1\nreplicas: {core: 2, extensions: 3}\nflags: {v: 1, audit_log_path: /a}\ntierFlags: {core: {v: 4, profiling: false}}\n",
		"c.yaml.d/20.yml":  "replicas: {core: 5}\nflags: {--v: 3}\n",
		"c.yaml.d/10.yaml": "securePort: 2\nreplicas: {core: 4}\ntierFlags: {core: {v: 5}}\netcdServers: [http://a:1, http://b:1]\n",
		"c.yaml.d/30.bak":  "nonsense",
		"more/a.json":      "etcdServers: [http://c:1]\n",
	})
	in := func(name string) string { return filepath.Join(d, name) }
	o := mustParse(t, "--config", in("c.yaml"), "--config-dir", in("more"), "--bind-address=127.0.0.1", "--replicas=aggregator=2")
	for _, want := range []Setting{
		{"securePort", "2", in("c.yaml.d/10.yaml")},
		{"bindAddress", "127.0.0.1", "--bind-address"},
		{"replicas.aggregator", "2", "--replicas"}, // none of the files' counts
		{"replicas.core", "", ""},
		{"flags.v", "3", in("c.yaml.d/20.yml")},
		{"flags.audit-log-path", "/a", in("c.yaml")},
		{"tierFlags.core.v", "5", in("c.yaml.d/10.yaml")},
		{"tierFlags.core.profiling", "false", in("c.yaml")},
		{"etcdServers", "http://c:1", in("more/a.json")},
		{"insecurePort", "0", Default},
	} {
		got := valueOf(o, want.Name)
		if want.Value == "" {
			want = Setting{}
		}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if o = mustParse(t, "--config", in("c.yaml")); o.Replicas.Of(tier.Core) != 5 || o.Replicas.Of(tier.Extensions) != 3 {
		t.Errorf("replicas %v", o.Replicas)
	}
}

func TestMistakesOfFilesNameTheFileAndWhatToDo(t *testing.T) {
	for content, says := range map[string]string{
		"securePrt: 1\n":                       `line 3: unknown setting "securePrt": did you mean securePort?`,
		"replicas: {core: 99}\n":               "want a number of replicas from 1 to",
		"flags: {no-such: 1}\n":                "unknown flag --no-such",
		"flags: {v: 1, --v: 2}\n":              "v is there twice",
		"tierFlags: {core: {no-such: 1}}\n":    "cannot differ from tier to tier",
		"securePort: 1\nsecurePort: 2\n":       "already",
		"memoryLimits: {extensions: little}\n": "is no size",
	} {
		d := write(t, map[string]string{"c.yaml": "", "c.yaml.d/10.yaml": content})
		_, err := parse(t, "--config", filepath.Join(d, "c.yaml"))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "10.yaml") {
			t.Errorf("%s: %v", content, err)
		}
	}
	if _, err := parse(t, "--config-dir=/nonexistent"); err == nil || !strings.Contains(err.Error(), "--config-dir") {
		t.Error(err)
	}
}

// What is shown as effective makes the same supervisor.
func TestEffectiveIsAFileOfTheSame(t *testing.T) {
	o := mustParse(t, "--secure-port=0", "--replicas=core=2", "--memory-limit=extensions=512Mi", "--v=3", "--tier-flag=core=v=4",
		"--etcd-servers=http://a:1,http://b:1", "--tls-sni-cert-key=a,b", "--tls-sni-cert-key=c,d", "--without-aggregator",
		"--pids-limit=core=100", "--tiers=core,extensions", "--tier-listen=core=127.0.0.1:7000", "--tier-at=core=b:1,core=c:1", "--sandbox=log", "--user-range=off")
	if at, tiers := valueOf(o, "tierAt.core").Value, valueOf(o, "tiers").Value; at != "b:1,c:1" || tiers != "core,extensions" {
		t.Errorf("lists are %q and %q", at, tiers)
	}
	data, err := yaml.Marshal(o.Effective())
	if err != nil {
		t.Fatal(err)
	}
	d := write(t, map[string]string{"c.yaml": ""})
	path := filepath.Join(d, "effective.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, "--config", path)
	if changes := o.Changes(again); len(changes) > 0 || !reflect.DeepEqual(again.Effective(), o.Effective()) {
		t.Errorf("%+v\n%s", changes, data)
	}
}

// Whoever adds a setting adds a flag of its name, by which it is read, shown and
// explained.
func TestEverySettingHasAFlagOfItsName(t *testing.T) {
	for _, name := range Settings() {
		if e, ok := ExplainSetting(name); !ok || e.Description == "" || e.Flag == "" && name != "flags" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestAChangeReachesAsFarAsItMust(t *testing.T) {
	before := mustParse(t, "--replicas=core=2", "--v=2", "--pids-limit=core=100", "--max-requests-inflight=5")
	after := mustParse(t, "--replicas=core=3", "--v=3", "--max-requests-inflight=6", "--tier-flag=core=v=4", "--memory-limit=extensions=1Gi", "--pids-limit=core=200", "--cpu-limit=core=2", "--secure-port=1")
	want := map[string]Reach{
		"replicas.core": Live, "memoryLimits.extensions": Live, "tierFlags.core.v": TierRestart, "pidsLimits.core": TierRestart, "cpuLimits.core": TierRestart,
		"flags.max-requests-inflight": TierRestart, "flags.v": FullRestart, "securePort": FullRestart,
	}
	for _, c := range before.Changes(after) {
		if want[c.Setting] != c.Reach {
			t.Errorf("%+v", c)
		}
		delete(want, c.Setting)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
	left := []string{}
	for _, c := range before.Adopt(after).Changes(after) {
		left = append(left, c.Setting)
	}
	if got := strings.Join(left, " "); got != "securePort flags.v" {
		t.Errorf("left to be done: %s", got)
	}
	if got := valueOf(before.Adopt(after), "flags.v").Value; got != "2" {
		t.Errorf("processes that start from now on are given --v=%s", got)
	}
	if before.Replicas.Of(tier.Core) != 2 {
		t.Error("the options of before have changed")
	}
}

func TestTheSchemaForEditorsIsCurrent(t *testing.T) {
	want, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../docs/reference/supervisor-configuration.schema.json")
	if err != nil || string(got) != string(want) {
		t.Errorf("docs/reference/supervisor-configuration.schema.json is out of date: run go generate ./internal/supervisor/options (%v)", err)
	}
	of := &spec.Schema{}
	if err := json.Unmarshal(want, of); err != nil {
		t.Fatal(err)
	}
	for content, valid := range map[string]bool{
		"":                                        true,
		"securePort: 6443\n":                      true,
		"securePort: 66000\n":                     false,
		"securePort: many\n":                      false,
		"securePrt: 1\n":                          false,
		"replicas: {core: 3}\n":                   true,
		"replicas: {core: 99}\n":                  false,
		"replicas: {scheduler: 1}\n":              false,
		"memoryLimits: {core: 1Gi}\n":             true,
		"flags: {v: 2, tls-sni-cert-key: [a]}\n":  true,
		"flags: {profiling: false}\n":             true,
		"flags: {no-such: 1}\n":                   false,
		"flags: {secure-port: 1}\n":               false,
		"tierFlags: {core: {v: 2}}\n":             true,
		"tierFlags: {core: {feature-gates: a}}\n": false,
	} {
		var file any
		if err := yaml.Unmarshal([]byte(header+content), &file); err != nil {
			t.Fatal(err)
		}
		if said := validate.NewSchemaValidator(of, nil, "", strfmt.Default).Validate(file); said.IsValid() != valid {
			t.Errorf("%s: %v", content, said.Errors)
		}
	}
}
