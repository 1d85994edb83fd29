package spine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// convertedCRD has two versions that disagree about the name of a field, and a
// webhook that knows better. KIND keeps the kinds of a test apart.
const convertedCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: KINDs.converted.example.com}
spec:
  group: converted.example.com
  scope: Namespaced
  names: {plural: KINDs, singular: KIND, kind: KIND, listKind: KINDList}
  conversion:
    strategy: Webhook
    webhook: {conversionReviewVersions: [v1], clientConfig: CLIENT}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
  - {name: v2, served: true, storage: false, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {amount: {type: integer}}}}}}}
`

// converters are ways to reach the webhook, each with a kind of its own.
func (b *beside) converters() map[string]string {
	bundle := "caBundle: " + b.hook.Bundle()
	url := func(path string) string { return fmt.Sprintf("{url: %q, %s}", b.hook.URL+path, bundle) }
	return map[string]string{
		"byurl":      url("/convert"),
		"byservice":  fmt.Sprintf("{service: {namespace: hooked, name: hooks, port: %d, path: /convert}, %s}", b.hook.Port, bundle),
		"byapi":      "{service: {namespace: default, name: kubernetes, path: /apis/hooks.example.com/v1/convert}}",
		"byapitoo":   "{service: {namespace: default, name: kubernetes, path: /apis/hooks.example.com/v1/convert}, " + bundle + "}",
		"refused":    url("/refuse"),
		"broken":     url("/broken"),
		"hanging":    url("/hang"),
		"nobody":     fmt.Sprintf("{service: {namespace: hooked, name: nobody, path: /convert}, %s}", bundle),
		"distrusted": fmt.Sprintf("{url: %q}", b.hook.URL+"/convert"),
	}
}

func convertedPath(kind, version string) string {
	return "/apis/converted.example.com/" + version + "/namespaces/hooked/" + kind + "s"
}

func convertedObject(kind, version, name, field string, value int) string {
	return fmt.Sprintf(`{"apiVersion": "converted.example.com/%s", "kind": %q, "metadata": {"name": %q}, "spec": {%q: %d}}`, version, kind, name, field, value)
}

// Custom resources are read, written, listed and watched in versions that a
// webhook converts, and a webhook that does not costs what it costs in stock.
func TestConversionWebhooksWorkAsInStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	ours, stock := sideBySide(t)
	for _, b := range []*beside{ours, stock} {
		filled := strings.NewReplacer("PORT", fmt.Sprint(b.hook.Port), "BUNDLE", b.hook.Bundle())
		b.KubectlInput(t, filled.Replace(hookedObjects), "create", "-f", "-")
		b.Kubectl(t, "wait", "--for=condition=Available", "--timeout=60s", "apiservice", "v1.hooks.example.com")
		all := ""
		for kind, client := range b.converters() {
			all += strings.NewReplacer("KIND", kind, "CLIENT", client).Replace(convertedCRD) + "---\n"
		}
		b.KubectlInput(t, all, "create", "-f", "-")
		for kind := range b.converters() {
			served(t, b.API, convertedPath(kind, "v1"))
		}
	}
	t.Run("ways", func(t *testing.T) {
		for kind := range ours.converters() {
			if kind != "hanging" {
				t.Run(kind, func(t *testing.T) {
					convertsAlike(t, ours, stock, kind)
				})
			}
		}
	})
	t.Run("watch", func(t *testing.T) { watchesAtAnotherVersion(t, ours) })
	t.Run("migration", func(t *testing.T) { storageIsMigrated(t, ours, stock) })
	t.Run("hanging", func(t *testing.T) { hangingConversionHarmsItsKindAlone(t, ours) })
}

func convertsAlike(t *testing.T, ours, stock *beside, kind string) {
	merge := []string{"Content-Type", "application/merge-patch+json"}
	v1, v2 := convertedPath(kind, "v1"), convertedPath(kind, "v2")
	for _, r := range []request{
		{"stored version", http.MethodPost, v1, convertedObject(kind, "v1", "one", "size", 1), nil},
		{"read", http.MethodGet, v2 + "/one", "", nil},
		{"other version", http.MethodPost, v2, convertedObject(kind, "v2", "two", "amount", 2), nil},
		{"read back", http.MethodGet, v1 + "/two", "", nil},
		{"list", http.MethodGet, v2, "", nil},
		{"patch", http.MethodPatch, v2 + "/one", `{"spec": {"amount": 3}}`, merge},
		{"patch stored", http.MethodPatch, v1 + "/one", `{"spec": {"size": 4}}`, merge},
		{"apply", http.MethodPatch, v2 + "/three?fieldManager=test", convertedObject(kind, "v2", "three", "amount", 5), []string{"Content-Type", "application/apply-patch+yaml"}},
		{"delete", http.MethodDelete, v2 + "/one", "", nil},
		{"delete all", http.MethodDelete, v2, "", nil},
	} {
		t.Run(r.what, func(t *testing.T) { alikeButForReviews(t, stock, ours, r) })
	}
}

// watchesAtAnotherVersion sees what is written in the stored one.
func watchesAtAnotherVersion(t *testing.T, b *beside) {
	client := harness.Must(rest.HTTPClientFor(b.Config(t)))(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	req := harness.Must(http.NewRequestWithContext(ctx, http.MethodGet, b.Config(t).Host+convertedPath("byurl", "v2")+"?watch=true", nil))(t)
	resp := harness.Must(client.Do(req))(t)
	defer resp.Body.Close()
	write := request{"", http.MethodPost, convertedPath("byurl", "v1"), convertedObject("byurl", "v1", "watched", "size", 7), nil}
	if got := write.send(t, b); got.Code != http.StatusCreated {
		t.Fatal(got)
	}
	var event struct {
		Object struct {
			APIVersion string
			Metadata   struct{ Name string }
			Spec       map[string]any
		}
	}
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if err := json.Unmarshal(in.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		if event.Object.Metadata.Name == "watched" {
			break
		}
	}
	if event.Object.APIVersion != "converted.example.com/v2" || event.Object.Spec["amount"] != 7.0 {
		t.Errorf("the watch sees %+v", event.Object)
	}
}

// storageIsMigrated makes the other version the stored one and writes an object
// anew, after which the first may go.
func storageIsMigrated(t *testing.T, ours, stock *beside) {
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/byservices.converted.example.com"
	merge := []string{"Content-Type", "application/merge-patch+json"}
	alikeButForReviews(t, stock, ours, request{"", http.MethodPost, convertedPath("byservice", "v1"), convertedObject("byservice", "v1", "old", "size", 8), nil})
	for _, b := range []*beside{ours, stock} {
		swap := request{"", http.MethodPatch, path, `[{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
			{"op": "replace", "path": "/spec/versions/1/storage", "value": true}]`, []string{"Content-Type", "application/json-patch+json"}}
		if got := swap.send(t, b); got.Code != http.StatusOK {
			t.Fatal(got)
		}
		touch := request{"", http.MethodPatch, convertedPath("byservice", "v2") + "/old", `{"metadata": {"annotations": {"touched": "yes"}}}`, merge}
		harness.Eventually(t, soon, "the object is written in the other version", func() error {
			if got := touch.send(t, b); got.Code != http.StatusOK {
				return fmt.Errorf("%s", got)
			}
			b.hook.Forget()
			// Read as stored, nothing is converted.
			if got := b.Get(t, convertedPath("byservice", "v2")+"/old"); got.Code != http.StatusOK || len(b.hook.Asked()) > 0 {
				return fmt.Errorf("asked %v, got %s", pathsOf(b.hook.Asked()), got)
			}
			return nil
		})
		done := request{"", http.MethodPatch, path + "/status", `{"status": {"storedVersions": ["v2"]}}`, merge}
		if got := done.send(t, b); got.Code != http.StatusOK {
			t.Fatal(got)
		}
	}
	alikeButForReviews(t, stock, ours, request{"", http.MethodGet, convertedPath("byservice", "v1") + "/old", "", nil})
	alikeButForReviews(t, stock, ours, request{"", http.MethodGet, convertedPath("byservice", "v2") + "/old", "", nil})
}

// hangingConversionHarmsItsKindAlone keeps requests waiting for the webhook and
// asks for other things meanwhile.
func hangingConversionHarmsItsKindAlone(t *testing.T, b *beside) {
	create := request{"", http.MethodPost, convertedPath("hanging", "v1"), convertedObject("hanging", "v1", "one", "size", 1), nil}
	if got := create.send(t, b); got.Code != http.StatusCreated {
		t.Fatal(got)
	}
	b.hook.Forget()
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	t.Cleanup(waiting.Wait)
	defer cancel()
	const many = 50
	for range many {
		waiting.Go(func() {
			_, err := harness.Send(ctx, b.Config(t), http.MethodGet, convertedPath("hanging", "v2")+"/one", "")
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	harness.Eventually(t, soon, "requests wait for the webhook", func() error {
		if asked := len(b.hook.Asked()); asked < many {
			return fmt.Errorf("%d", asked)
		}
		return nil
	})
	client := harness.Must(rest.HTTPClientFor(b.Config(t)))(t)
	for _, path := range []string{"/api/v1/namespaces/hooked", convertedPath("byurl", "v2"), convertedPath("hanging", "v1") + "/one", "/apis/apiregistration.k8s.io/v1/apiservices"} {
		began := time.Now()
		req := harness.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, b.Config(t).Host+path, nil))(t)
		if got := harness.Must(harness.Do(client, req))(t); got.Code != http.StatusOK {
			t.Errorf("%s: %s", path, got)
		}
		// The webhook would be given up after 30 seconds.
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s takes %v", path, took)
		}
	}
}
