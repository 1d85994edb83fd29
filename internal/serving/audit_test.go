package serving

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"triptych.dev/triptych/internal/auditlog"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// audited configures a tier whose log is l, and returns its backend's server.
func audited(t *testing.T, fd int, change func(*genericoptions.AuditOptions)) *genericapiserver.Config {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := genericoptions.NewAuditOptions()
	o.PolicyFile = policy
	change(o)
	p := &process.Process{Wiring: &wiring.Wiring{Tier: tier.Extensions, AuditLog: fd}}
	c := &genericapiserver.Config{}
	if err := ApplyAudit(p, o, c); err != nil {
		t.Fatal(err)
	}
	return c
}

// connected returns a descriptor as a tier inherits it.
func connected(t *testing.T, l *auditlog.Log) int {
	t.Helper()
	f, err := l.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestEventsGoToTheOneLogAndNameTheTier(t *testing.T) {
	dir := t.TempDir()
	l, err := auditlog.Open(auditlog.Options{Path: filepath.Join(dir, "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	unwritable := filepath.Join(dir, "audit.log", "of the tier") // written by itself, this fails
	c := audited(t, connected(t, l), func(o *genericoptions.AuditOptions) { o.LogOptions.Path = unwritable })
	if !c.AuditBackend.ProcessEvents(&auditinternal.Event{AuditID: "one", Level: auditinternal.LevelMetadata}) {
		t.Error("not processed")
	}
	content, err := os.ReadFile(filepath.Join(dir, "audit.log"))
	var event struct {
		AuditID     string
		Annotations map[string]string
	}
	if err = errors.Join(err, json.Unmarshal(content, &event)); err != nil {
		t.Fatalf("%v in %q", err, content)
	}
	if event.AuditID != "one" || event.Annotations[TierAnnotation] != string(tier.Extensions) {
		t.Errorf("got %s", content)
	}
}

// A request fails for a log that cannot be written only if the mode says so.
func TestAFailingLogFailsRequestsInStrictModeAlone(t *testing.T) {
	for mode, want := range map[string]bool{genericoptions.ModeBlocking: true, genericoptions.ModeBlockingStrict: false, genericoptions.ModeBatch: true} {
		l, err := auditlog.Open(auditlog.Options{Path: filepath.Join(t.TempDir(), "audit.log"), MaxSize: 1})
		if err != nil {
			t.Fatal(err)
		}
		c := audited(t, connected(t, l), func(o *genericoptions.AuditOptions) {
			o.LogOptions.Path, o.LogOptions.BatchOptions.Mode = "log", mode
		})
		tooLarge := &auditinternal.Event{AuditID: "x", Level: auditinternal.LevelMetadata, UserAgent: strings.Repeat("x", 2<<20)}
		if got := c.AuditBackend.ProcessEvents(tooLarge); got != want {
			t.Errorf("%s: processed is %v", mode, got)
		}
	}
}

func TestEventsAreTruncatedAsTold(t *testing.T) {
	dir := t.TempDir()
	l, err := auditlog.Open(auditlog.Options{Path: filepath.Join(dir, "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	c := audited(t, connected(t, l), func(o *genericoptions.AuditOptions) {
		o.LogOptions.TruncateOptions.Enabled, o.LogOptions.TruncateOptions.TruncateConfig.MaxEventSize = true, 1000
	})
	c.AuditBackend.ProcessEvents(&auditinternal.Event{AuditID: "discarded", UserAgent: strings.Repeat("x", 2000)}, &auditinternal.Event{AuditID: "kept"})
	content, _ := os.ReadFile(filepath.Join(dir, "audit.log"))
	if got := slices.Collect(strings.Lines(string(content))); len(got) != 1 || !strings.Contains(got[0], "kept") {
		t.Errorf("got %q", got)
	}
}

// A tier with a wiring of one's own writes its own file, as kube-apiserver does.
func TestWithoutAConnectionTheTierWritesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	c := audited(t, 0, func(o *genericoptions.AuditOptions) { o.LogOptions.Path = path })
	c.AuditBackend.ProcessEvents(&auditinternal.Event{AuditID: "one"})
	if content, err := os.ReadFile(path); err != nil || !strings.Contains(string(content), TierAnnotation) {
		t.Errorf("%v, %q", err, content)
	}
}

func TestWithoutALogThereIsNoBackend(t *testing.T) {
	if c := audited(t, 0, func(*genericoptions.AuditOptions) {}); c.AuditBackend != nil {
		t.Errorf("got %v", c.AuditBackend)
	}
}
