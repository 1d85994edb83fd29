package authorization

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func parsed(t *testing.T, args ...string) *Options {
	t.Helper()
	o, fs := NewOptions(), pflag.NewFlagSet("tier", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestAMistakeIsAnsweredWithTheFlagThatMadeIt(t *testing.T) {
	for args, says := range map[string]string{
		"":                               "",
		"--authorization-mode=Node,RBAC": "",
		"--authorization-mode=ABAC --authorization-policy-file=p":            "",
		"--authorization-mode=Webhook --authorization-webhook-config-file=w": "",
		"--authorization-mode=RBAC,RBAC":                                     "more than once",
		"--authorization-mode=Rbac":                                          `"Rbac"`,
		"--authorization-mode=ABAC":                                          "--authorization-policy-file",
		"--authorization-policy-file=p":                                      "--authorization-mode=ABAC",
		"--authorization-mode=Webhook":                                       "--authorization-webhook-config-file",
		"--authorization-mode=RBAC --authorization-webhook-config-file=w":    "--authorization-mode=Webhook",
		"--authorization-config=c --authorization-mode=RBAC":                 "--authorization-config excludes",
		"--authorization-config=c --authorization-webhook-version=v1":        "--authorization-config excludes",
		"--authorization-config=/nowhere.yaml":                               "/nowhere.yaml",
	} {
		err := parsed(t, strings.Fields(args)...).Validate()
		if (err == nil) != (says == "") || (err != nil && !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: got %v, want %q", args, err, says)
		}
	}
}

func TestTheFlagsAreThoseOfKubeAPIServer(t *testing.T) {
	ours, theirs := pflag.NewFlagSet("ours", pflag.ContinueOnError), pflag.NewFlagSet("theirs", pflag.ContinueOnError)
	NewOptions().AddFlags(ours)
	kubeoptions.NewBuiltInAuthorizationOptions().AddFlags(theirs)
	for _, pair := range [][2]*pflag.FlagSet{{ours, theirs}, {theirs, ours}} {
		pair[0].VisitAll(func(f *pflag.Flag) {
			g := pair[1].Lookup(f.Name)
			if g == nil || g.DefValue != f.DefValue || g.Value.Type() != f.Value.Type() || g.NoOptDefVal != f.NoOptDefVal {
				t.Errorf("--%s is %+v and %+v", f.Name, f, g)
			}
		})
	}
}

// decide returns what the configured authorizers say of a user of no role.
func decide(t *testing.T, o *Options, u user.Info) authorizer.Decision {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &genericapiserver.Config{}
	if err := o.ApplyTo(ctx, c, informers.NewSharedInformerFactory(nil, 0)); err != nil {
		t.Fatal(err)
	}
	if c.RuleResolver == nil {
		t.Error("nobody can ask what it may do")
	}
	decision, _, _ := c.Authorization.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: "get", APIGroup: "example.org", APIVersion: "v1", Resource: "things", ResourceRequest: true,
	})
	return decision
}

func TestWhoeverIsNamedByNoRuleGetsNothingUnlessAllDo(t *testing.T) {
	config := filepath.Join(t.TempDir(), "authorization.yaml")
	content := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- {type: Node, name: node}\n"
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	jane := &user.DefaultInfo{Name: "jane", Groups: []string{user.AllAuthenticated}}
	master := &user.DefaultInfo{Name: "root", Groups: []string{user.SystemPrivilegedGroup}}
	for args, allowed := range map[string]bool{
		"":                                      true, // as kube-apiserver without the flag
		"--authorization-mode=AlwaysAllow":      true,
		"--authorization-mode=AlwaysDeny":       false,
		"--authorization-mode=RBAC":             false,
		"--authorization-mode=Node,RBAC":        false,
		"--authorization-mode=Node,AlwaysAllow": true,
		// Node has no opinion of jane, and that is not everything.
		"--authorization-mode=Node":                   false,
		fmt.Sprint("--authorization-config=", config): false,
	} {
		o := parsed(t, strings.Fields(args)...)
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := decide(t, o, jane) == authorizer.DecisionAllow; got != allowed {
			t.Errorf("%q: allowed is %v, want %v", args, got, allowed)
		}
		if decide(t, o, master) != authorizer.DecisionAllow {
			t.Errorf("%q: system:masters are locked out", args)
		}
	}
}
