package diff

import "slices"

const admission = "/apis/admissionregistration.k8s.io/v1"

// rulesOf are one kind of each tier, for policies and webhooks.
const rulesOf = `[{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]},
{"apiGroups": ["${group}"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["gadgets"]},
{"apiGroups": ["apiregistration.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["apiservices"]}]`

const mine = `"matchConditions": [{"name": "mine", "expression": "object.metadata.name.contains('${ns}')"}]`

// everywhere are the same dry runs on each tier, of an object whose name has the word
// in it.
func everywhere(what, word, code string, settles bool) []step {
	name := word + "-${ns}"
	steps := []step{
		{name: what + ": core", do: code + " POST " + configMaps.path + "?dryRun=All", body: configMaps.named(name), settles: settles},
		{name: what + ": custom", do: code + " POST " + gadgets.path + "?dryRun=All", body: gadgets.named(name), settles: settles},
	}
	return append(steps, step{name: what + ": aggregator", do: code + " POST /apis/apiregistration.k8s.io/v1/apiservices?dryRun=All", settles: settles, body: `{"apiVersion": "apiregistration.k8s.io/v1",
"kind": "APIService", "metadata": {"name": "v1.` + name + `", "labels": {"of": "${ns}"}}, "spec": {"group": "` + name + `", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10}}`})
}

// admitted is about what admission allows.
var admitted = []scene{
	{name: "policies", aggregation: true, steps: slices.Concat(installed, []step{
		{name: "a validating policy", do: "201 POST " + admission + "/validatingadmissionpolicies", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "v-${ns}"},
"spec": {"failurePolicy": "Fail", ` + mine + `, "matchConstraints": {"resourceRules": ` + rulesOf + `}, "validations": [{"expression": "!object.metadata.name.contains('bad-')", "message": "it is bad", "reason": "Forbidden"},
{"expression": "!object.metadata.name.contains('worse-')", "messageExpression": "'it is ' + object.metadata.name"}], "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}]}}`},
		{name: "its binding", do: "201 POST " + admission + "/validatingadmissionpolicybindings", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "v-${ns}"}, "spec": {"policyName": "v-${ns}", "validationActions": ["Deny"]}}`},
		{name: "a mutating policy", do: "201 POST " + admission + "/mutatingadmissionpolicies", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "m-${ns}"},
"spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", ` + mine + `, "matchConstraints": {"resourceRules": ` + rulesOf + `}, "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{metadata: Object.metadata{labels: {'mutated': 'yes'}}}"}}]}}`},
		{name: "its binding too", do: "201 POST " + admission + "/mutatingadmissionpolicybindings", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "m-${ns}"}, "spec": {"policyName": "m-${ns}"}}`},
		{name: "a policy that is none", do: "422 POST " + admission + "/validatingadmissionpolicies", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "x-${ns}"}, "spec": {"matchConstraints": {"resourceRules": ` + rulesOf + `}, "validations": [{"expression": "object.absent +"}]}}`},
	}, everywhere("forbidden", "bad", "403", true), everywhere("invalid", "worse", "422", false), everywhere("mutated", "good", "201", true), []step{
		{name: "warned of only", do: "200 PATCH " + admission + "/validatingadmissionpolicybindings/v-${ns}", head: []string{mergePatch}, body: `{"spec": {"validationActions": ["Warn", "Audit"]}}`},
	}, everywhere("warned of", "bad", "201", true), []step{
		{name: "the policy's status", do: "200 GET " + admission + "/validatingadmissionpolicies/v-${ns}", settles: true},
		{do: "200 DELETE " + admission + "/validatingadmissionpolicybindings/v-${ns}"}, {do: "200 DELETE " + admission + "/mutatingadmissionpolicybindings/m-${ns}"},
		{do: "200 DELETE " + admission + "/validatingadmissionpolicies/v-${ns}"}, {do: "200 DELETE " + admission + "/mutatingadmissionpolicies/m-${ns}"},
	})},
	{name: "webhooks", aggregation: true, steps: slices.Concat(installed, []step{
		{name: "validating webhooks", do: "201 POST " + admission + "/validatingwebhookconfigurations", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "${ns}"}, "webhooks": [` +
			webhook("deny", "deny", "Fail") + "," + webhook("warn", "warn", "Fail") + "," + webhook("broken", "broken", "Fail") + "," + webhook("ignored", "broken", "Ignore") + `]}`},
		{name: "mutating webhooks", do: "201 POST " + admission + "/mutatingwebhookconfigurations", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "${ns}"}, "webhooks": [` +
			webhook("label", "marked/label", "Fail") + `]}`},
		{name: "a webhook that is none", do: "422 POST " + admission + "/validatingwebhookconfigurations", body: `{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "x-${ns}"}, "webhooks": [{"name": "x"}]}`},
	}, everywhere("denied", "deny", "418", true), everywhere("warned of", "warn", "201", true), everywhere("broken", "broken", "500", true),
		everywhere("ignored", "ignored", "201", false), everywhere("mutated", "label", "201", true), []step{
			{do: "200 DELETE " + admission + "/validatingwebhookconfigurations/${ns}"}, {do: "200 DELETE " + admission + "/mutatingwebhookconfigurations/${ns}"},
		})},
	{name: "quota", steps: slices.Concat(installed, []step{
		{name: "a quota", do: "201 POST /api/v1/namespaces/${ns}/resourcequotas", body: `{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "1", "count/gadgets.${group}": "1"}}}`},
		{name: "is counted", do: "200 PUT /api/v1/namespaces/${ns}/resourcequotas/q/status", body: `{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "1", "count/gadgets.${group}": "1"}},
"status": {"hard": {"count/configmaps": "1", "count/gadgets.${group}": "1"}, "used": {"count/configmaps": "1", "count/gadgets.${group}": "1"}}}`},
		{name: "too many", do: "403 POST " + configMaps.path, body: configMaps.named("x"), settles: true},
		{name: "too many gadgets", do: "403 POST " + gadgets.path, body: gadgets.named("x"), settles: true},
		{name: "a limit", do: "201 POST /api/v1/namespaces/${ns}/limitranges", body: `{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "50m"}}]}}`},
		{name: "a Pod over the limit", do: "403 POST /api/v1/namespaces/${ns}/pods", settles: true, body: `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "x", "resources": {"limits": {"cpu": "1"}}}]}}`},
		{name: "a Pod of an absent ServiceAccount", do: "403 POST /api/v1/namespaces/${ns}/pods", body: `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"serviceAccountName": "absent", "containers": [{"name": "c", "image": "x"}]}}`},
		{name: "a Pod of an absent class", do: "403 POST /api/v1/namespaces/${ns}/pods", body: `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"priorityClassName": "absent", "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "x"}]}}`},
	})},
	{name: "owners", steps: slices.Concat(installed, []step{
		{name: "a role", do: "201 POST " + rbac + "/namespaces/${ns}/roles", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "w"}, "rules": [{"apiGroups": ["", "${group}"], "resources": ["configmaps", "gadgets"], "verbs": ["create", "delete", "update"]}]}`},
		{name: "bound", do: "201 POST " + rbac + "/namespaces/${ns}/rolebindings", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "w"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "w"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mary"}]}`},
		{name: "a namespace that ends", do: "201 POST /api/v1/namespaces", body: `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "${ns}-ends"}}`},
		{name: "ends", do: "200 DELETE /api/v1/namespaces/${ns}-ends"},
		{name: "nothing new in it", do: "403 POST /api/v1/namespaces/${ns}-ends/configmaps", body: configMaps.named("x"), settles: true},
		{name: "no gadget in it", do: "403 POST /apis/${group}/v1/namespaces/${ns}-ends/gadgets", body: gadgets.named("x"), settles: true},
		{name: "no default namespace", do: "403 DELETE /api/v1/namespaces/default"}, {name: "no system namespace", do: "403 DELETE /api/v1/namespaces/kube-system"},
	}, blocking(configMaps, "core"), blocking(gadgets, "custom"))},
}

func webhook(name, path, failure string) string {
	return `{"name": "` + name + `.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5, "failurePolicy": "` + failure + `",
"clientConfig": {"url": "${hook}/` + path + `", "caBundle": "${hookCA}"}, "matchConditions": [{"name": "mine", "expression": "object.metadata.name.contains('` + name + `-${ns}')"}], "rules": ` + rulesOf + `}`
}

// blocking: mary may not keep an owner from being deleted that she may not delete.
func blocking(k kind, tier string) []step {
	owned := func(name, block string) string {
		return "{" + k.object + `, "metadata": {"name": "` + name + `", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"` + block + `}]}}`
	}
	return []step{
		{name: tier + ": owned", do: "201 POST " + k.path, as: "mary", body: owned("owned", ""), settles: false},
		{name: tier + ": blocking", do: "403 POST " + k.path, as: "mary", body: owned("blocking", `, "blockOwnerDeletion": true`)},
		{name: tier + ": blocking by the administrator", do: "201 POST " + k.path, body: owned("blocking", `, "blockOwnerDeletion": true`)},
		{name: tier + ": owned twice", do: "422 POST " + k.path, body: "{" + k.object + `, "metadata": {"name": "x", "ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]}}`},
	}
}
