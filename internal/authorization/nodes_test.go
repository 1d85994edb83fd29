package authorization

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
)

func configFile(t *testing.T, path string, types ...string) {
	t.Helper()
	content := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"
	for _, kind := range types {
		content += "- {type: " + kind + ", name: " + strings.ToLower(kind) + "}\n"
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// of returns the authorizer that args configure.
func of(t *testing.T, args ...string) authorizer.Authorizer {
	t.Helper()
	c := &genericapiserver.Config{}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	if err := parsed(t, args...).ApplyTo(ctx, c, informers.NewSharedInformerFactory(nil, 0)); err != nil {
		t.Fatal(err)
	}
	return c.Authorization.Authorizer
}

func TestAFileThatNamesNodeIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	configFile(t, path, "Node", "RBAC")
	a := of(t, "--authorization-config="+path)
	jane := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "jane"}, Verb: "get", Resource: "things", ResourceRequest: true}
	if d, _, _ := a.Authorize(t.Context(), jane); d != authorizer.DecisionNoOpinion {
		t.Fatalf("before the change: %v", d)
	}
	configFile(t, path, "Node", "RBAC", "AlwaysAllow")
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		d, _, _ := a.Authorize(t.Context(), jane)
		if d == authorizer.DecisionAllow {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("10 s after the change: %v", d)
		}
	}
}

func TestANodeHasWhatItsRulesSayAndNoObjects(t *testing.T) {
	a := of(t, "--authorization-mode=Node,RBAC")
	node := &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}}
	for _, want := range []struct {
		attributes authorizer.AttributesRecord
		decision   authorizer.Decision
		reason     string
	}{
		{authorizer.AttributesRecord{User: node, Verb: "list", APIGroup: "example.org", Resource: "things"}, authorizer.DecisionNoOpinion, ""},
		{authorizer.AttributesRecord{User: node, Verb: "list", APIGroup: "node.k8s.io", Resource: "runtimeclasses"}, authorizer.DecisionAllow, ""},
		{authorizer.AttributesRecord{User: node, Verb: "get", Resource: "secrets", Namespace: "n", Name: "s"}, authorizer.DecisionNoOpinion, "no relationship found"},
		{authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "system:node:", Groups: node.Groups}, Verb: "list", APIGroup: "example.org", Resource: "things"},
			authorizer.DecisionNoOpinion, "unknown node"},
	} {
		want.attributes.ResourceRequest = true
		d, reason, err := a.Authorize(t.Context(), want.attributes)
		if d != want.decision || err != nil || !strings.Contains(reason, want.reason) || (reason == "") != (want.reason == "") {
			t.Errorf("%s %s: %v, %q, %v", want.attributes.Verb, want.attributes.Resource, d, reason, err)
		}
	}
}
