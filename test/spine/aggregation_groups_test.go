package spine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// takeover compares what becomes of a group that a CRD serves and an APIService
// takes.
func (a *aggregation) takeover(t *testing.T) {
	const group = "takeover.example.com"
	paths := []string{gadgetsPath(group), "/apis/" + group, "/apis/" + group + "/v1", gadgetsPath(group) + "/kept"}
	compare := func(t *testing.T, when string) {
		t.Helper()
		for _, path := range paths {
			a.equal(t, when+": "+path, func(t *testing.T, s *side) any { return s.told(t, path) })
		}
		a.equal(t, when+": aggregated /apis", func(t *testing.T, s *side) any { return s.groupDiscovery(t, group) })
	}
	demand := func(t *testing.T, code int, what string) {
		t.Helper()
		harness.Eventually(t, settled, what, func() error {
			if got := a.ours.Get(t, paths[3]); got.Code != code {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
	}
	service := map[*side]harness.APIService{}
	for _, s := range a.both() {
		b := harness.StartBackend(t, group, "recorded", "backend", "http/1.1")
		service[s] = harness.APIService{
			Group: group, Version: "v1", GroupPriority: 1000, VersionPriority: 100,
			Namespace: "recorded", Service: "backend", Port: b.Port, CA: b.CA,
		}
		installCRD(t, s.API, group)
		createGadget(t, s.API, group, "kept")
	}
	compare(t, "of the CRD")
	t.Run("taken while the CRD serves it", func(t *testing.T) {
		for _, s := range a.both() {
			s.replace(t, service[s])
		}
		harness.Eventually(t, settled, "the backend serves it", func() error {
			if got := a.ours.Get(t, "/apis/"+group+"/v1"); got.Code != http.StatusOK || !contains(got, "things") {
				return fmt.Errorf("%s", got)
			}
			return nil
		})
		compare(t, "taken")
	})
	t.Run("given back", func(t *testing.T) {
		for _, s := range a.both() {
			s.Kubectl(t, "delete", "apiservice", "v1."+group)
		}
		demand(t, http.StatusOK, "the CRD serves it again")
		compare(t, "given back")
		if got := a.ours.Get(t, paths[3]); !contains(got, `"Gadget"`) {
			t.Errorf("got %s", got)
		}
	})
	t.Run("the CRD deleted", func(t *testing.T) {
		for _, s := range a.both() {
			s.Kubectl(t, "delete", "crd", "gadgets."+group)
		}
		demand(t, http.StatusNotFound, "nobody serves it")
		compare(t, "gone")
	})
}

func contains(answer harness.Answer, text string) bool {
	return strings.Contains(string(answer.Body), text)
}

// replace puts the APIService in the place of one that registration keeps, and
// waits until it is available. It takes the label off, or registration undoes it.
func (s *side) replace(t *testing.T, service harness.APIService) {
	t.Helper()
	s.KubectlInput(t, service.Manifest(), "replace", "-f", "-")
	s.Kubectl(t, "wait", "--for=jsonpath={.spec.service.name}="+service.Service, "--timeout=60s", "apiservice", service.Name())
	s.Kubectl(t, "wait", "--for=condition=Available", "--timeout=90s", "apiservice", service.Name())
}

// groupDiscovery is what the aggregated document says of one group.
func (s *side) groupDiscovery(t *testing.T, group string) any {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Versions any
		}
	}
	s.Get(t, "/apis", "Accept", aggregatedDiscovery).Into(t, &list)
	for i, item := range list.Items {
		if item.Metadata.Name == group {
			return map[string]any{"place from the end": len(list.Items) - i, "versions": item.Versions}
		}
	}
	return "not there"
}

// builtIns compares what users can do to groups that core serves, by way of their
// APIServices.
func (a *aggregation) builtIns(t *testing.T) {
	const group = "scheduling.k8s.io"
	classes := "/apis/" + group + "/v1/priorityclasses/system-node-critical"
	compare := func(t *testing.T, when string, paths ...string) {
		t.Helper()
		for _, path := range append(paths, "/apis/"+group, "/apis/"+group+"/v1", classes, "/apis") {
			a.equal(t, when+": "+path, func(t *testing.T, s *side) any { return s.document(t, path) })
		}
		a.equal(t, when+": aggregated /apis", func(t *testing.T, s *side) any { return s.groupDiscovery(t, group) })
	}
	t.Run("a foreign version without a server", func(t *testing.T) {
		for _, s := range a.both() {
			s.apply(t, harness.APIService{Group: group, Version: "v9", GroupPriority: 1000, VersionPriority: 9}.Manifest())
			s.apply(t, harness.APIService{Group: "nothing.example.com", Version: "v1", GroupPriority: 1000, VersionPriority: 9}.Manifest())
		}
		compare(t, "unserved", "/apis/"+group+"/v9", "/apis/nothing.example.com", "/apis/nothing.example.com/v1", "/apis/nothing.example.com/v1/things")
		for _, s := range a.both() {
			s.Kubectl(t, "delete", "apiservice", "v9."+group, "v1.nothing.example.com")
		}
		compare(t, "deleted", "/apis/"+group+"/v9", "/apis/nothing.example.com/v1")
	})
	t.Run("a foreign version with a server", func(t *testing.T) {
		for _, s := range a.both() {
			b := harness.StartBackend(t, group, "recorded", "backend", "http/1.1")
			service := harness.APIService{
				Group: group, Version: "v9", GroupPriority: 1000, VersionPriority: 9,
				Namespace: "recorded", Service: "backend", Port: b.Port, CA: b.CA,
			}
			s.apply(t, service.Manifest())
		}
		compare(t, "a foreign version", "/apis/"+group+"/v9/things")
		for _, s := range a.both() {
			s.Kubectl(t, "delete", "apiservice", "v9."+group)
		}
		compare(t, "deleted", "/apis/"+group+"/v9/things")
	})
	t.Run("diverted", func(t *testing.T) {
		for _, s := range a.both() {
			b := harness.StartBackend(t, group, "recorded", "backend", "http/1.1")
			s.replace(t, harness.APIService{
				Group: group, Version: "v1", GroupPriority: 16600, VersionPriority: 15,
				Namespace: "recorded", Service: "backend", Port: b.Port, CA: b.CA,
			})
		}
		compare(t, "diverted")
	})
	t.Run("deleted", func(t *testing.T) {
		for _, s := range a.both() {
			s.Kubectl(t, "delete", "apiservice", "v1."+group)
		}
		compare(t, "deleted")
	})
	t.Run("local again", func(t *testing.T) {
		for _, s := range a.both() {
			s.apply(t, harness.APIService{Group: group, Version: "v1", GroupPriority: 16600, VersionPriority: 15}.Manifest())
		}
		compare(t, "local again")
		if got := a.ours.Get(t, classes); got.Code != http.StatusOK {
			t.Errorf("got %s", got)
		}
	})
}

// ownService compares what an APIService comes to that leads back to the API.
func (a *aggregation) ownService(t *testing.T) {
	const group = "circle.example.com"
	for _, s := range a.both() {
		s.apply(t, harness.APIService{
			Group: group, Version: "v1", GroupPriority: 1000, VersionPriority: 9, Namespace: "default", Service: "kubernetes", Port: 443,
			CA: harness.Must(harness.LoadPair(s.dir+"/pki/ca.crt", s.dir+"/pki/ca.key"))(t),
		}.Manifest())
		defer s.Kubectl(t, "delete", "apiservice", "v1."+group)
	}
	a.equal(t, "the condition", func(t *testing.T, s *side) any {
		return s.Kubectl(t, "get", "apiservice", "v1."+group, "-o", "jsonpath={.status.conditions[*].status} {.status.conditions[*].reason}")
	})
	for _, path := range []string{"/apis/" + group + "/v1", "/apis/" + group + "/v1/things", "/apis/" + group} {
		a.equal(t, path, func(t *testing.T, s *side) any { return s.told(t, path) })
	}
}
