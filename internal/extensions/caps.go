package extensions

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
)

const (
	definitionsFlag = "max-custom-resource-definitions"
	schemaFlag      = "max-custom-resource-schema-bytes"
	// pending is how long a CRD counts that was let pass and is not seen: its write is
	// under way, or has failed.
	pending = time.Minute
)

// Caps are how many CRDs there may be and how large; zero is no cap.
type Caps struct {
	Definitions int
	// SchemaBytes is of the schemas of all versions of one CRD, as JSON.
	SchemaBytes int
}

// AddFlags registers the flags.
func (c *Caps) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&c.Definitions, definitionsFlag, c.Definitions,
		"How many CustomResourceDefinitions there may be. Those that exist are kept. 0 is any number.")
	fs.IntVar(&c.SchemaBytes, schemaFlag, c.SchemaBytes,
		"How many bytes of JSON the schemas of all versions of a CustomResourceDefinition may have. One that exists may be changed as long as they do not grow. 0 is any number.")
}

// Validate returns what is wrong with the flags.
func (c *Caps) Validate() error {
	for flag, value := range map[string]int{definitionsFlag: c.Definitions, schemaFlag: c.SchemaBytes} {
		if value < 0 {
			return fmt.Errorf("--%s=%d: want a number, or 0 for no cap", flag, value)
		}
	}
	return nil
}

// capped is the admission plugin that holds the caps. It comes last: what the others refuse
// does not count.
type capped struct {
	caps Caps

	mu     sync.Mutex
	crds   listers.CustomResourceDefinitionLister // nil until known
	synced func() bool
	// passed are CRDs that were let pass and that the lister may not have yet, and until when
	// they count.
	passed map[string]time.Time
}

func newCapped(caps Caps) *capped { return &capped{caps: caps, passed: map[string]time.Time{}} }

// on returns chain with c behind it, or chain itself where there is no cap.
func (c *capped) on(chain admission.Interface) admission.Interface {
	if c.caps == (Caps{}) {
		return chain
	}
	return admission.NewChainHandler(chain, c)
}

// count says where CRDs are to be counted; before, none can be created under a cap.
func (c *capped) count(crds listers.CustomResourceDefinitionLister, synced func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crds, c.synced = crds, synced
}

// Handles implements admission.Interface.
func (c *capped) Handles(operation admission.Operation) bool {
	return operation == admission.Create || operation == admission.Update
}

// Validate implements admission.ValidationInterface.
func (c *capped) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	crd, is := a.GetObject().(*apiextensions.CustomResourceDefinition)
	if !is || a.GetSubresource() != "" {
		return nil
	}
	if err := c.checkSchema(crd, a); err != nil || a.GetOperation() != admission.Create || c.caps.Definitions == 0 {
		return err
	}
	return c.pass(crd.Name, a)
}

func (c *capped) checkSchema(crd *apiextensions.CustomResourceDefinition, a admission.Attributes) error {
	if c.caps.SchemaBytes == 0 {
		return nil
	}
	size, err := schemaBytes(crd)
	if err != nil || size <= c.caps.SchemaBytes {
		return err
	}
	if old, is := a.GetOldObject().(*apiextensions.CustomResourceDefinition); is && old != nil {
		if before, err := schemaBytes(old); err != nil || size <= before {
			return err
		}
	}
	return admission.NewForbidden(a, fmt.Errorf("exceeded --%s=%d: the schemas of its versions have %d bytes", schemaFlag, c.caps.SchemaBytes, size))
}

// pass lets the CRD pass or not, one after the other. Those that others were just let create
// count as if they existed.
func (c *capped) pass(name string, a admission.Attributes) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.crds == nil || !c.synced() {
		return apierrors.NewServiceUnavailable("it is not known yet how many CustomResourceDefinitions there are")
	}
	crds, err := c.crds.List(labels.Everything())
	if err != nil {
		return err
	}
	there := sets.New[string]()
	for _, crd := range crds {
		there.Insert(crd.Name)
	}
	now := time.Now()
	for other, until := range c.passed {
		if there.Has(other) || now.After(until) {
			delete(c.passed, other)
			continue
		}
		there.Insert(other)
	}
	if n := there.Len(); n >= c.caps.Definitions && !there.Has(name) { // one that exists is refused in other words
		return admission.NewForbidden(a, fmt.Errorf("exceeded --%s=%d: there are %d", definitionsFlag, c.caps.Definitions, n))
	}
	if !a.IsDryRun() {
		c.passed[name] = now.Add(pending)
	}
	return nil
}

// schemaBytes is the size of the schemas of all versions.
func schemaBytes(crd *apiextensions.CustomResourceDefinition) (sum int, err error) {
	// The internal form keeps one schema where versions have the same.
	external := &v1.CustomResourceDefinition{}
	if err := v1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(crd, external, nil); err != nil {
		return 0, err
	}
	for _, version := range external.Spec.Versions {
		if version.Schema == nil {
			continue
		}
		content, err := json.Marshal(version.Schema.OpenAPIV3Schema)
		if err != nil {
			return 0, err
		}
		sum += len(content)
	}
	return sum, nil
}
