// Package spine holds what a user may rely on, each guarantee by the test that
// is named after it. The tests see only what users see: binaries, files, ports
// and what the API answers.
package spine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
	"triptych.dev/triptych/test/intruder"
)

func TestMain(m *testing.M) {
	intruder.Main()
	harness.Main(m)
}

// soon bounds what should take moments, on a machine that is busy with the rest
// of the tests.
const soon = time.Minute

// crd is a CustomResourceDefinition of gadgets in a group of the caller's own.
func crd(group string) string {
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: gadgets.%[1]s
spec:
  group: %[1]s
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        description: A gadget is what this test is about.
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 1, description: How large the gadget is.}
          status:
            type: object
            properties:
              phase: {type: string}
`, group)
}

// installCRD creates the CRD and waits until its resource is served.
func installCRD(t *testing.T, api *harness.API, group string) schema.GroupVersionResource {
	t.Helper()
	api.KubectlInput(t, crd(group), "create", "-f", "-")
	gadgets := schema.GroupVersionResource{Group: group, Version: "v1", Resource: "gadgets"}
	served(t, api, gadgetsPath(group))
	return gadgets
}

// served waits until GET of path answers 200.
func served(t *testing.T, api *harness.API, path string) {
	t.Helper()
	harness.Eventually(t, soon, path+" is served", func() error {
		if answer := api.Get(t, path); answer.Code != http.StatusOK {
			return fmt.Errorf("%s", answer)
		}
		return nil
	})
}

func gadgetsPath(group string) string {
	return "/apis/" + group + "/v1/namespaces/default/gadgets"
}

func gadget(group, name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1",
		"kind":       "Gadget",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"size": size},
	}}
}

// createGadget stores a gadget and returns its path.
func createGadget(t *testing.T, api *harness.API, group, name string) string {
	t.Helper()
	gadgets := schema.GroupVersionResource{Group: group, Version: "v1", Resource: "gadgets"}
	client := api.Dynamic(t).Resource(gadgets).Namespace("default")
	// The default namespace is made by core shortly after it is ready.
	harness.Eventually(t, soon, "a gadget is created", func() error {
		_, err := client.Create(t.Context(), gadget(group, name, 1), metav1.CreateOptions{})
		return err
	})
	return gadgetsPath(group) + "/" + name
}

// lines returns the lines of s, trimmed, without empty ones.
func lines(s string) []string {
	var all []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}
