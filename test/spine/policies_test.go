package spine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// policies are one validating and one mutating policy for objects of one kind,
// with parameters of another.
const policies = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: CASE}
spec:
  paramKind: PARAMKIND
  matchConstraints:
    objectSelector: {matchLabels: {case: CASE}}
    resourceRules: RULES
  matchConditions: [{name: exempt, expression: "!('exempt' in object.metadata.labels)"}]
  variables: [{name: max, expression: "int(params.VALUE)"}, {name: size, expression: "int(object.metadata.labels['size'])"}]
  validations:
  - {expression: variables.size <= variables.max, messageExpression: "'more than ' + string(variables.max)", reason: Forbidden}
  - {expression: "authorizer.group('').resource('secrets').namespace('hooked').check('list').allowed()", message: you may not list secrets}
  - {expression: "namespaceObject == null || namespaceObject.metadata.labels['hooked'] == 'yes'", message: not there}
  auditAnnotations: [{key: max, valueExpression: string(variables.max)}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: CASE}
spec: {policyName: CASE, validationActions: [Deny, Audit], paramRef: {name: CASE, namespace: hooked, parameterNotFoundAction: Deny}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: warns-CASE}
spec:
  matchConstraints:
    objectSelector: {matchLabels: {case: CASE}}
    resourceRules: RULES
  validations: [{expression: "object.metadata.labels['size'] != '1'", message: that is small}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: warns-CASE}
spec: {policyName: warns-CASE, validationActions: [Warn, Audit]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: CASE}
spec:
  paramKind: PARAMKIND
  reinvocationPolicy: IfNeeded
  matchConstraints:
    objectSelector: {matchLabels: {case: CASE}}
    resourceRules: RULES
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{metadata: Object.metadata{annotations: {'applied': string(params.VALUE)}}}"}
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/metadata/labels/patched', value: string(params.VALUE)}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: CASE}
spec: {policyName: CASE, paramRef: {name: CASE, namespace: hooked, parameterNotFoundAction: Allow}}
---
`

// policyRules are the objects of each tier.
var policyRules = map[string]string{
	"core":       `[{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]`,
	"extensions": `[{apiGroups: [hooked.example.com], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [gadgets]}]`,
	"aggregator": `[{apiGroups: [apiregistration.k8s.io], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [apiservices]}]`,
}

// paramKind is a kind of parameters, each served by another tier.
type paramKind struct{ kind, value, object, patch, path string }

var paramKinds = map[string]paramKind{
	"builtin": {`{apiVersion: v1, kind: ConfigMap}`, "data.max",
		`{apiVersion: v1, kind: ConfigMap, metadata: {name: CASE, namespace: hooked}, data: {max: "2"}}`,
		`{"data": {"max": "5"}}`, "/api/v1/namespaces/hooked/configmaps/"},
	"custom": {`{apiVersion: params.example.com/v1, kind: Limit}`, "spec.max",
		`{apiVersion: params.example.com/v1, kind: Limit, metadata: {name: CASE, namespace: hooked}, spec: {max: 2}}`,
		`{"spec": {"max": 5}}`, "/apis/params.example.com/v1/namespaces/hooked/limits/"},
	"aggregated": {`{apiVersion: wardle.example.com/v1alpha1, kind: Flunder}`, "spec.reference",
		`{apiVersion: wardle.example.com/v1alpha1, kind: Flunder, metadata: {name: CASE, namespace: hooked}, spec: {reference: "2"}}`,
		`{"spec": {"reference": "5"}}`, "/apis/wardle.example.com/v1alpha1/namespaces/hooked/flunders/"},
}

// limitCRD is a kind of parameters with a schema, so that policies about it can
// be checked.
const limitCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: limits.params.example.com}
spec:
  group: params.example.com
  scope: Namespaced
  names: {plural: limits, singular: limit, kind: Limit, listKind: LimitList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {max: {type: integer}}}}}}
`

// mistaken is a policy that is wrong about two kinds.
const mistaken = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAME}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
    - {apiGroups: [params.example.com], apiVersions: [v1], operations: [CREATE], resources: [limits]}
    - {apiGroups: [apiregistration.k8s.io], apiVersions: [v1], operations: [CREATE], resources: [apiservices]}
  validations: [{expression: "object.spec.nax > 1"}]
`

// sized asks to create an object of the case with a size.
func sized(target, param, size string, headers ...string) request {
	r := create(target, param+size, fmt.Sprintf(`"case": "%s-%s", "size": %q`, target, param, size), headers...)
	r.path += "?dryRun=All"
	return r
}

// policiesActInEveryTier tries every pair of a kind that is judged and a kind of
// parameters. All kinds but the built-in one come after the policies that want
// them.
func policiesActInEveryTier(t *testing.T, ours, stock *beside) {
	all, params := &strings.Builder{}, &strings.Builder{}
	for target, rules := range policyRules {
		for param, kind := range paramKinds {
			fill := strings.NewReplacer("CASE", target+"-"+param, "RULES", rules, "PARAMKIND", kind.kind, "VALUE", kind.value)
			all.WriteString(fill.Replace(policies))
			params.WriteString(fill.Replace(kind.object) + "\n---\n")
		}
	}
	for _, b := range []*beside{ours, stock} {
		b.KubectlInput(t, owners, "apply", "-f", "-")
		b.KubectlInput(t, all.String(), "create", "-f", "-")
	}
	t.Run("an unknown kind", func(t *testing.T) {
		for target := range policyRules {
			for _, param := range []string{"custom", "aggregated"} {
				for _, b := range []*beside{ours, stock} {
					// The mutating policy is the last to be known, and the first to act.
					b.await(t, sized(target, param, "2"), `policy \"`+target+"-"+param+`\" denied request: failed to configure policy`)
				}
				alike(t, stock, ours, sized(target, param, "2"))
			}
		}
	})
	for name, b := range map[string]*beside{"ours": ours, "stock": stock} {
		sample := harness.StartSample(t, b.API, stock.etcd, "wardle-"+name)
		// It would wait a minute for the watches of those who follow parameters.
		t.Cleanup(func() { sample.Kill(t) })
		sample.Register(t, b.API)
		b.KubectlInput(t, limitCRD, "create", "-f", "-")
		served(t, b.API, "/apis/params.example.com/v1/namespaces/hooked/limits")
		b.KubectlInput(t, params.String(), "create", "-f", "-")
	}
	known := time.Now()
	for target := range policyRules {
		for param := range paramKinds {
			for name, b := range map[string]*beside{"ours": ours, "stock": stock} {
				b.await(t, sized(target, param, "3"), "more than 2")
				b.await(t, sized(target, param, "2"), `"patched":"2"`)
				t.Logf("%s: %s-%s acts %v after its parameters came", name, target, param, time.Since(known).Round(time.Second))
			}
			t.Run(target+" "+param, func(t *testing.T) { policyActs(t, ours, stock, target, param) })
		}
	}
	t.Run("types are checked", func(t *testing.T) { mistakesAreFound(t, ours, stock) })
}

// await repeats a request until the answer says text.
func (b *beside) await(t *testing.T, r request, text string) {
	t.Helper()
	harness.Eventually(t, harness.StartBound, r.path+" says "+text, func() error {
		if got := r.send(t, b); !strings.Contains(string(got.Body), text) {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

func policyActs(t *testing.T, ours, stock *beside, target, param string) {
	alike(t, stock, ours, sized(target, param, "1"))
	alike(t, stock, ours, sized(target, param, "2"))
	alike(t, stock, ours, sized(target, param, "3"))
	alike(t, stock, ours, sized(target, param, "2", "Impersonate-User", "creator"))
	exempt := sized(target, param, "3")
	exempt.body = strings.Replace(exempt.body, `"case"`, `"exempt": "yes", "case"`, 1)
	alike(t, stock, ours, exempt)

	kind := paramKinds[param]
	path := kind.path + target + "-" + param
	change := request{"", http.MethodPatch, path, kind.patch, []string{"Content-Type", "application/merge-patch+json"}}
	for _, b := range []*beside{ours, stock} {
		change.send(t, b)
		b.await(t, sized(target, param, "5"), `"patched":"5"`)
		b.await(t, sized(target, param, "6"), "more than 5")
	}
	alike(t, stock, ours, sized(target, param, "5"))
	for _, b := range []*beside{ours, stock} {
		request{"", http.MethodDelete, path, "", nil}.send(t, b)
		b.await(t, sized(target, param, "2"), "no params found")
	}
	alike(t, stock, ours, sized(target, param, "2"))
}

// mistakesAreFound compares what the controller finds by the schemas of all
// tiers. It looks at a policy once, by what it knows then: hence a new policy
// until both know as much.
func mistakesAreFound(t *testing.T, ours, stock *beside) {
	n := 0
	harness.Eventually(t, harness.StartBound, "mistakes are found as behind stock", func() error {
		n++
		name := fmt.Sprintf("mistaken-%d", n)
		want, got := stock.mistakes(t, name), ours.mistakes(t, name)
		if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(strings.Join(want, " "), "Limit") {
			return fmt.Errorf("stock says %q (- stock, + ours)\n%s", want, diff)
		}
		return nil
	})
}

// mistakes creates the policy that is wrong and waits until it was looked at.
func (b *beside) mistakes(t *testing.T, name string) (warnings []string) {
	t.Helper()
	b.KubectlInput(t, strings.ReplaceAll(mistaken, "NAME", name), "create", "-f", "-")
	var policy struct {
		Status struct {
			ObservedGeneration int64
			TypeChecking       struct{ ExpressionWarnings []struct{ Warning string } }
		}
	}
	harness.Eventually(t, soon, name+" is checked", func() error {
		b.Get(t, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/"+name).Into(t, &policy)
		if policy.Status.ObservedGeneration == 0 {
			return fmt.Errorf("%+v", policy.Status)
		}
		return nil
	})
	for _, w := range policy.Status.TypeChecking.ExpressionWarnings {
		warnings = append(warnings, lines(w.Warning)...)
	}
	slices.Sort(warnings)
	return warnings
}
