package spine

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// Caps on CRDs are exact with several writers, say which flag it is, and leave alone what
// exists.
func TestCapsOnCRDsAreHeldAndSaySo(t *testing.T) {
	c := harness.Run(t, harness.Options{Args: []string{"--max-custom-resource-definitions=5", "--max-custom-resource-schema-bytes=20000"}})
	path := createGadget(t, &c.API, installCRD(t, &c.API, "capped.example.com").Group, "one")

	var created, forbidden atomic.Int64
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 3 {
				answer := postCRD(t, &c.API, "", smallCRD(fmt.Sprintf("capped%d", 3*w+i), ""))
				switch {
				case answer.Code == http.StatusCreated:
					created.Add(1)
				case answer.Code == http.StatusForbidden && strings.Contains(string(answer.Body), "exceeded --max-custom-resource-definitions=5"):
					forbidden.Add(1)
				default:
					t.Error(answer)
				}
			}
		})
	}
	wait.Wait()
	if created.Load() != 4 || forbidden.Load() != 8 {
		t.Errorf("%d were created and %d forbidden, want 4 and 8", created.Load(), forbidden.Load())
	}
	if _, err := c.TryKubectl(t, crd("more.example.com"), "apply", "-f", "-"); err == nil ||
		!strings.Contains(err.Error(), `customresourcedefinitions.apiextensions.k8s.io "gadgets.more.example.com" is forbidden: exceeded --max-custom-resource-definitions=5: there are 5`) {
		t.Errorf("kubectl says %v", err)
	}

	// What exists works and can be changed.
	served(t, &c.API, path)
	c.Kubectl(t, "label", "crd", "gadgets.capped.example.com", "some=label")
	first := strings.Fields(c.Kubectl(t, "get", "crd", "-o", "name"))[0]
	c.Kubectl(t, "delete", first)
	harness.Eventually(t, 30*time.Second, "there is room for one", func() error {
		// As kubectl would: the last one is seen to be gone a moment later than it is.
		if answer := postCRD(t, &c.API, "?dryRun=All", smallCRD("roomy", "")); answer.Code != http.StatusCreated {
			return fmt.Errorf("%s", answer)
		}
		return nil
	})
	long := `"a": {"type": "string", "description": "` + strings.Repeat("x", 20000) + `"}`
	if answer := postCRD(t, &c.API, "", smallCRD("long", long)); answer.Code != http.StatusForbidden ||
		!strings.Contains(string(answer.Body), "exceeded --max-custom-resource-schema-bytes=20000: the schemas of its versions have 20") {
		t.Errorf("a large schema: %s", answer)
	}
}
