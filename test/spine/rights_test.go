package spine

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// readerOf is a user whom a binding lets read the gadgets of group and APIServices.
func readerOf(t *testing.T, api *harness.API, ca *harness.Pair, group string) *rest.Config {
	t.Helper()
	api.KubectlInput(t, strings.ReplaceAll(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader.GROUP}
rules:
- {apiGroups: [GROUP, apiregistration.k8s.io], resources: [gadgets, apiservices], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader.GROUP}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader.GROUP}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader.GROUP}]
`, "GROUP", group), "apply", "-f", "-")
	return api.ConfigFor(t, harness.Must(ca.Issue(harness.Leaf{CommonName: "reader." + group, Usage: clientAuth}))(t))
}

// Head and extensions are told of rights by core. When it has told nothing for
// longer than --rights-max-age, they judge nobody by what they knew: 503, neither
// a yes that may be revoked nor a no that may be wrong. Who needs no binding goes
// on, and so does who asks whether the process lives.
func TestRightsThatAreTooOldJudgeNobody(t *testing.T) {
	t.Parallel() // it waits more than it works
	c := harness.Run(t, harness.Options{Args: []string{"--rights-max-age=2s"}})
	const group = "aged.example.com"
	installCRD(t, &c.API, group)
	reader := readerOf(t, &c.API, c.CA(t), group)
	stranger := c.ConfigFor(t, harness.Must(c.CA(t).Issue(harness.Leaf{CommonName: "stranger", Usage: clientAuth}))(t))
	paths := []string{gadgetsPath(group), "/apis/apiregistration.k8s.io/v1/apiservices"}
	known := func() {
		t.Helper()
		for _, path := range paths {
			harness.Eventually(t, soon, path+" is judged", func() error { return answersWith(t, reader, path, http.StatusOK) })
			harness.Eventually(t, soon, path+" is judged", func() error { return answersWith(t, stranger, path, http.StatusForbidden) })
		}
	}
	known()
	harness.Eventually(t, soon, "both say in /readyz that they know", func() error {
		got := c.Get(t, "/readyz?verbose")
		if !strings.Contains(string(got.Body), "rights-aggregator ok") || !strings.Contains(string(got.Body), "rights-extensions ok") {
			return fmt.Errorf("%s", got.Body)
		}
		return nil
	})
	core := c.WaitReady(t).Replica("core").PID
	if err := syscall.Kill(core, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The supervisor replaces a core that hangs for 15 s.
	const bound = 10 * time.Second
	for _, path := range paths {
		for who, config := range map[string]*rest.Config{"reader": reader, "stranger": stranger} {
			harness.Eventually(t, bound, path+" judges no "+who, func() error { return unjudged(t, config, path) })
		}
		harness.Eventually(t, bound, path+" judges no reader that the administrator wants to be", func() error {
			return unjudged(t, c.Config(t), path, "Impersonate-User", "reader."+group)
		})
		if got := c.Get(t, path); got.Code != http.StatusOK {
			t.Errorf("%s answers the administrator %s", path, got)
		}
	}
	if got := harness.Must(harness.Send(t.Context(), c.Anonymous(t), http.MethodGet, "/livez", ""))(t); got.Code != http.StatusOK {
		t.Errorf("/livez answers %s", got)
	}
	if got := c.Get(t, "/readyz?verbose"); got.Code == http.StatusOK || !strings.Contains(string(got.Body), "[-]rights-aggregator failed") {
		t.Errorf("/readyz answers %s", got)
	}
	c.WaitStatus(t, bound, "extensions is not ready", func(s harness.Status) bool { return s.Replica("extensions").Stage != "ready" })
	if err := syscall.Kill(core, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	known()
	c.WaitReady(t)
}

// unjudged returns an error unless the answer is the 503 that invites to come again.
func unjudged(t *testing.T, config *rest.Config, path string, headers ...string) error {
	answer, err := harness.Send(t.Context(), config, http.MethodGet, path, "", headers...)
	if err == nil && (answer.Code == http.StatusOK || !orUnavailable(answer, nil)) {
		err = fmt.Errorf("%s", answer)
	}
	if err == nil && !strings.Contains(string(answer.Body), "rights of users") {
		err = fmt.Errorf("for another reason: %s", answer)
	}
	return err
}
