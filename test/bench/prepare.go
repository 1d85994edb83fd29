package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"triptych.dev/triptych/test/harness"
)

const (
	space   = "bench"
	configs = "/api/v1/namespaces/" + space + "/configmaps"
	secrets = "/api/v1/namespaces/" + space + "/secrets"
	group   = "bench.example.com"
	gadgets = "/apis/" + group + "/v1/namespaces/" + space + "/gadgets"
	listed  = 500
)

func (s *server) post(path, body string) error {
	return s.write(http.MethodPost, path, body, "application/json")
}

func (s *server) write(method, path, body, contentType string) error {
	answer, err := harness.Send(context.Background(), s.config, method, path, body, "Content-Type", contentType)
	if err == nil && answer.Code != http.StatusCreated && answer.Code != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, answer)
	}
	return err
}

// prepare makes what the workloads read: in two namespaces, so that lists stay as
// long as they are.
func (s *server) prepare() error {
	ctx, post := context.Background(), s.post
	for _, name := range []string{space, space + "-lists"} {
		if err := post("/api/v1/namespaces", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "`+name+`"}}`); err != nil {
			return err
		}
	}
	if err := post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd); err != nil {
		return err
	}
	if err := harness.Await(ctx, time.Minute, "gadgets are served", func() error {
		answer, err := harness.Send(ctx, s.config, http.MethodGet, gadgets, "")
		if err == nil && answer.Code != http.StatusOK {
			err = fmt.Errorf("%s", answer)
		}
		return err
	}); err != nil {
		return err
	}
	lists := strings.NewReplacer("/"+space+"/", "/"+space+"-lists/")
	if err := errors.Join(post(configs, configMap("one")), post(configs, configMap("changing")), post(configs, configMap("applied")), post(gadgets, gadget("one")), post(gadgets, gadget("changing"))); err != nil {
		return err
	}
	for i := range listed {
		name := fmt.Sprintf("of-many-%d", i)
		if err := errors.Join(post(lists.Replace(configs), configMap(name)), post(lists.Replace(gadgets), gadget(name))); err != nil {
			return err
		}
	}
	return s.serviceAccount(ctx)
}

func (s *server) serviceAccount(ctx context.Context) error {
	post := s.post
	err := errors.Join(
		post("/api/v1/namespaces/"+space+"/serviceaccounts", `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bench"}}`),
		post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "ServiceAccount", "name": "bench", "namespace": "`+space+`"}]}`))
	if err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return err
	}
	token, err := clients.CoreV1().ServiceAccounts(space).CreateToken(ctx, "bench", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err == nil {
		s.token = token.Status.Token
	}
	return err
}

// filler makes objects of about 1 kB.
var filler = strings.Repeat("x", 700)

func configMap(name string) string {
	return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"}, "data": {"filler": "` + filler + `"}}`
}

func gadget(name string) string {
	return `{"apiVersion": "` + group + `/v1", "kind": "Gadget", "metadata": {"name": "` + name + `"}, "spec": {"size": 1, "filler": "` + filler + `"}}`
}

const crd = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.` + group + `"}, "spec": {"group": "` + group + `", "scope": "Namespaced",
"names": {"plural": "gadgets", "kind": "Gadget"}, "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
"properties": {"size": {"type": "integer"}, "filler": {"type": "string"}}}}}}}]}}`
