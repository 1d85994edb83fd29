package spine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// constrainedRights let users of certificates, and an account, be another while they
// list, each in another way. Whom they may be may list gadgets, APIServices and
// ConfigMaps.
const constrainedRights = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: constrained-lists}, rules: [
  {apiGroups: ["", constrained.example.com, apiregistration.k8s.io], resources: [configmaps, gadgets, apiservices], verbs: [list]},
  {nonResourceURLs: [/metrics/slis], verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: constrained-lists},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: constrained-lists}, subjects: [
  {apiGroup: rbac.authorization.k8s.io, kind: User, name: constrained-target}, {apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:node:constrained"},
  {kind: ServiceAccount, namespace: default, name: constrained-target}]}
`

// way is one in which somebody may be another.
type way struct{ who, mode, resource, on string }

var ways = []way{
	{"constrained-user", "user-info", "users", "impersonate-on:user-info:list"},
	{"constrained-reader", "user-info", "users", "impersonate-on:user-info:get"},
	{"constrained-half", "user-info", "users", ""},
	{"constrained-node", "arbitrary-node", "nodes", "impersonate-on:arbitrary-node:list"},
	{"constrained-account", "serviceaccount", "serviceaccounts", "impersonate-on:serviceaccount:list"},
	{"constrained-agent", "associated-node", "nodes", "impersonate-on:associated-node:list"},
}

// manifest has everything the way needs.
func (w way) manifest() string {
	subject := "{apiGroup: rbac.authorization.k8s.io, kind: User, name: WHO}"
	if w.mode == "associated-node" {
		subject = "{kind: ServiceAccount, namespace: default, name: WHO}"
	}
	on := ""
	if w.on != "" {
		on = `, {apiGroups: ["*"], resources: [secrets, configmaps, gadgets, apiservices], verbs: ["ON"]}, {nonResourceURLs: ["*"], verbs: ["ON"]}`
	}
	return strings.NewReplacer("WHO", w.who, "MODE", w.mode, "RESOURCE", w.resource, "ON", w.on).Replace(`---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: WHO}, rules: [
  {apiGroups: [authentication.k8s.io], resources: [RESOURCE], verbs: ["impersonate:MODE"]}` + on + `]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: WHO},
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: WHO}, subjects: [` + subject + `]}
`)
}

// impersonators are the credentials of every way.
func impersonators(t *testing.T, api *harness.API, pki string) map[string]*rest.Config {
	t.Helper()
	manifest := constrainedRights
	for _, w := range ways {
		manifest += w.manifest()
	}
	api.KubectlInput(t, manifest, "apply", "-f", "-")
	ca := harness.Must(harness.LoadPair(pki+"/ca.crt", pki+"/ca.key"))(t)
	all := map[string]*rest.Config{}
	for _, w := range ways {
		all[w.who] = api.ConfigFor(t, harness.Must(ca.Issue(harness.Leaf{CommonName: w.who, Usage: clientAuth}))(t))
	}
	all["constrained-agent"] = api.Anonymous(t)
	all["constrained-agent"].BearerToken = tokenOnNode(t, api, pki+"/sa.key", "constrained-agent", "constrained")
	// Not the one of other tests: a server begins with the way that was right for a user last time.
	all["administrator"] = api.ConfigFor(t, harness.Must(ca.Issue(harness.Leaf{
		CommonName: "constrained-administrator", Organization: []string{"system:masters"}, Usage: clientAuth,
	}))(t))
	return all
}

// tokenOnNode is a token of the account in a Pod that runs on the node.
func tokenOnNode(t *testing.T, api *harness.API, key, account, node string) string {
	t.Helper()
	ctx, client := t.Context(), api.Clientset(t).CoreV1()
	harness.Must(harness.Must(harness.NewTokens(api.Config(t), key))(t).Account(ctx, account))(t)
	harness.Must(client.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() {
		lasting, now := context.WithoutCancel(ctx), int64(0)
		if err := errors.Join(client.Nodes().Delete(lasting, node, metav1.DeleteOptions{}),
			client.Pods("default").Delete(lasting, account, metav1.DeleteOptions{GracePeriodSeconds: &now})); err != nil {
			t.Error(err)
		}
	})
	pod := harness.Must(client.Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: account}, Spec: corev1.PodSpec{
		NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}, metav1.CreateOptions{}))(t)
	request := harness.Must(client.ServiceAccounts("default").CreateToken(ctx, account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}, metav1.CreateOptions{}))(t)
	return request.Status.Token
}

// Whoever may be another only in some way, and only while doing some things, is
// judged so in every tier, with stock's words, and counted.
func TestConstrainedImpersonationLikeStock(t *testing.T) {
	const group = "constrained.example.com"
	c, s := harness.Shared(t), harness.SharedStock(t)
	ours, stock := impersonators(t, &c.API, c.Path("pki")), impersonators(t, &s.API, s.Dir+"/pki")
	for _, api := range []*harness.API{&c.API, &s.API} {
		installCRD(t, api, group)
	}
	wanted := map[string][]string{
		"user": {"Impersonate-User", "constrained-target"}, "user of groups": {"Impersonate-User", "constrained-target", "Impersonate-Group", "system:masters"},
		"user of a UID": {"Impersonate-User", "constrained-target", "Impersonate-Uid", "7"}, "node": {"Impersonate-User", "system:node:constrained"},
		"another node": {"Impersonate-User", "system:node:another"}, "account": {"Impersonate-User", "system:serviceaccount:default:constrained-target"}, "no user": {"Impersonate-Group", "crowd"},
	}
	paths := map[string]string{
		"core": "/api/v1/namespaces/default/configmaps", "core, not the target": "/api/v1/namespaces/default/secrets", "custom": gadgetsPath(group),
		"custom, get": gadgetsPath(group) + "/none", "aggregator": "/apis/apiregistration.k8s.io/v1/apiservices", "path": "/metrics/slis",
	}
	for _, config := range []*rest.Config{ours["constrained-node"], stock["constrained-node"]} {
		harness.Eventually(t, soon, "rights count", func() error {
			got, err := harness.Send(t.Context(), config, http.MethodGet, paths["custom"], "", wanted["node"]...)
			if err == nil && got.Code != http.StatusOK {
				err = fmt.Errorf("%s", got)
			}
			return err
		})
	}
	before := [2]map[string]int{attempts(t, &s.API), attempts(t, &c.API)}
	codes := map[string]int{}
	for _, who := range keys(ours) {
		for _, whom := range keys(wanted) {
			for _, where := range keys(paths) {
				answers := [2]string{}
				for i, config := range []*rest.Config{stock[who], ours[who]} {
					got := harness.Must(harness.Send(t.Context(), config, http.MethodGet, paths[where], "", wanted[whom]...))(t)
					if got.Code == http.StatusOK {
						got.Body = nil // what is listed is not the question
						got.Header = nil
						codes[who+" in "+where]++
					}
					answers[i] = comparable(got)
				}
				if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
					t.Errorf("%s as %s, %s (- stock, + ours):\n%s", who, whom, where, diff)
				}
			}
		}
	}
	for _, w := range ways {
		for _, where := range []string{"core", "custom", "aggregator"} {
			if got := codes[w.who+" in "+where]; (got > 0) != strings.HasSuffix(w.on, ":list") {
				t.Errorf("%s is let in by %s %d times", w.who, where, got)
			}
		}
	}
	since := func(before, now map[string]int) map[string]int {
		for mode, n := range before {
			now[mode] -= n
		}
		return now
	}
	want := since(before[0], attempts(t, &s.API))
	t.Log(want)
	if diff := cmp.Diff(want, since(before[1], attempts(t, &c.API))); diff != "" || len(want) < 5 {
		t.Errorf("attempts are counted otherwise (- stock, + ours):\n%s", diff)
	}
}

var attempt = regexp.MustCompile(`(?m)^apiserver_\w*impersonation_attempts_total\{(.*)\} (\d+)$`)

// attempts are how often whom was wanted to be, by mode and outcome, in all tiers.
func attempts(t *testing.T, api *harness.API) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, sample := range attempt.FindAllStringSubmatch(string(api.Get(t, "/metrics").Body), -1) {
		labels := regexp.MustCompile(`,?tier="\w+"`).ReplaceAllString(sample[1], "")
		all[labels] += harness.Must(strconv.Atoi(sample[2]))(t)
	}
	return all
}
