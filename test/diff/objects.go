package diff

import (
	"fmt"
	"slices"
	"strings"
)

// kind is a resource that the same things are done with.
type kind struct {
	// path is the collection, object the beginning of a manifest without its
	// metadata.
	path, object string
	// value is a field with a number or a text, as a JSON path from the root.
	value string
}

var (
	configMaps = kind{"/api/v1/namespaces/${ns}/configmaps", `"apiVersion": "v1", "kind": "ConfigMap"`, "data"}
	gadgets    = kind{"/apis/${group}/v1/namespaces/${ns}/gadgets", `"apiVersion": "${group}/v1", "kind": "Gadget"`, "spec"}
)

// named is a manifest of one object; more goes into it.
func (k kind) named(name string, more ...string) string {
	return "{" + k.object + `, "metadata": {"name": "` + name + `", "labels": {"of": "${ns}", "is": "` + name + `"}}` + strings.Join(append([]string{""}, more...), ", ") + "}"
}

// versioned is a manifest with the version that was kept.
func (k kind) versioned(name string, more ...string) string {
	return strings.Replace(k.named(name, more...), `"metadata": {`, `"metadata": {"resourceVersion": "${version}", `, 1)
}

func (k kind) with(value string) string { return `"` + k.value + `": {"size": ` + value + "}" }

// code is what differs between the two.
func (k kind) code(core, custom string) string {
	if k.value == "data" {
		return core
	}
	return custom
}

// number is what fits the field: ConfigMaps have texts.
func (k kind) number(n int) string {
	if k.value == "data" {
		return fmt.Sprintf(`"%d"`, n)
	}
	return fmt.Sprint(n)
}

// installed are steps that install the gadgets of the scene and wait for them.
var installed = []step{
	{name: "the CRD", do: "201 POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions", body: `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
"metadata": {"name": "gadgets.${group}"}, "spec": {"group": "${group}", "scope": "Namespaced", "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget",
"shortNames": ["gd"], "categories": ["all"]}, "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}, "scale": {"specReplicasPath":
".spec.size", "statusReplicasPath": ".status.size"}}, "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}, {"name": "Age",
"type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1}], "selectableFields": [{"jsonPath": ".spec.color"}], "schema": {"openAPIV3Schema": {"type": "object",
"description": "A gadget.", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 0, "maximum": 100}, "color": {"type": "string",
"default": "red", "enum": ["red", "blue"]}, "parts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}},
"x-kubernetes-validations": [{"rule": "!has(self.size) || self.size != 13", "message": "13 brings bad luck", "reason": "FieldValueForbidden"}]},
"status": {"type": "object", "properties": {"size": {"type": "integer"}, "phase": {"type": "string"}}}}}}}]}}`},
	{name: "the CRD is established", do: "200 GET /apis/${group}/v1/namespaces/${ns}/gadgets", settles: true},
}

// objects are about reading.
var objects = []scene{
	{name: "reading", steps: slices.Concat(installed, reading(configMaps, "core"), reading(gadgets, "custom"))},
	{name: "watching", steps: slices.Concat(installed, watching(configMaps, "core"), watching(gadgets, "custom"))},
	{name: "kinds", steps: slices.Concat(
		each("200 GET ", []string{
			"/api/v1/namespaces/${ns}", "/api/v1/namespaces/${ns}/serviceaccounts/default", "/api/v1/nodes", "/api/v1/componentstatuses/scheduler", "/api/v1/componentstatuses/etcd-0",
			"/apis/rbac.authorization.k8s.io/v1/clusterroles/view", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin", "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
			"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles", "/apis/scheduling.k8s.io/v1/priorityclasses",
			"/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", "/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1/ipaddresses/10.96.0.1",
			"/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "/apis/storage.k8s.io/v1/storageclasses", "/apis/certificates.k8s.io/v1/certificatesigningrequests",
		}),
		[]step{
			{do: "200 GET /api/v1/namespaces/${ns}", head: []string{"Accept: " + table}},
			{do: "200 GET /apis/rbac.authorization.k8s.io/v1/clusterroles/view", head: []string{"Accept: " + table}},
			{do: "200 GET /apis/rbac.authorization.k8s.io/v1/clusterroles/view", head: []string{"Accept: " + kubeProtobuf}},
			{do: "200 GET /apis/scheduling.k8s.io/v1/priorityclasses", head: []string{"Accept: " + kubeProtobuf}},
			{do: "404 GET /api/v1/namespaces/${ns}/pods/absent"}, {do: "404 GET /api/v1/namespaces/${ns}/absents"},
			{do: "404 GET /api/v1/namespaces/absent"}, {do: "404 GET /apis/apps/v1/namespaces/${ns}/deployments/absent/scale"},
		},
	)},
	{name: "apiservices", aggregation: true, steps: slices.Concat(
		each("200 GET ", []string{"/apis/apiregistration.k8s.io/v1/apiservices/v1.", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
			"/apis/apiregistration.k8s.io/v1/apiservices/v1.apiextensions.k8s.io", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps/status"}),
		[]step{
			{do: "200 GET /apis/apiregistration.k8s.io/v1/apiservices/v1.apps", head: []string{"Accept: " + table}},
			{do: "200 GET /apis/apiregistration.k8s.io/v1/apiservices/v1.apps", head: []string{"Accept: " + partial}},
			{do: "200 GET /apis/apiregistration.k8s.io/v1/apiservices?limit=1&fieldSelector=metadata.name%3Dv1.apps"},
			{do: "404 GET /apis/apiregistration.k8s.io/v1/apiservices/v1.absent"},
			{do: "404 GET /apis/apiregistration.k8s.io/v1/absents"},
			{do: "422 POST /apis/apiregistration.k8s.io/v1/apiservices", body: `{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.x${n}"}, "spec": {}}`},
			{do: "201 POST /apis/apiregistration.k8s.io/v1/apiservices", body: `{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.x${n}.example.com"},
"spec": {"group": "x${n}.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "service": {"namespace": "${ns}", "name": "absent"}}}`},
			{name: "is not available", do: "200 GET /apis/apiregistration.k8s.io/v1/apiservices/v1.x${n}.example.com", settles: true},
			{do: "503 GET /apis/x${n}.example.com/v1", settles: true},
			{do: "503 GET /apis/x${n}.example.com/v1/namespaces/${ns}/things", settles: true},
			{name: "patched", do: "200 PATCH /apis/apiregistration.k8s.io/v1/apiservices/v1.x${n}.example.com", body: `{"spec": {"versionPriority": 20}}`, head: []string{mergePatch}},
			{name: "no strategic patch of others", do: "200 PATCH /apis/apiregistration.k8s.io/v1/apiservices/v1.x${n}.example.com", body: `{"spec": {"versionPriority": 21}}`, head: []string{strategicPatch}},
			{do: "200 DELETE /apis/apiregistration.k8s.io/v1/apiservices/v1.x${n}.example.com"},
			{name: "gone", do: "404 GET /apis/x${n}.example.com/v1", settles: true},
		},
	)},
}

// reading does with a kind all that can be done without changing anything.
func reading(k kind, tier string) (steps []step) {
	for i, name := range []string{"a", "b", "c"} {
		steps = append(steps, step{name: tier + ": create " + name, do: "201 POST " + k.path, body: k.named(name, k.with(k.number(i+1)))})
	}
	for _, query := range []string{
		"", "?limit=2", "?labelSelector=of%3D${ns}", "?labelSelector=of%21%3D${ns}", "?labelSelector=is+in+%28a%2Cb%29", "?labelSelector=%21absent",
		"?fieldSelector=metadata.name%3Da", "?fieldSelector=metadata.name%21%3Da", "?fieldSelector=metadata.namespace%3D${ns}", "?resourceVersion=0",
		"?resourceVersion=0&resourceVersionMatch=NotOlderThan", "?pretty=true", "?timeout=5s", "?limit=0", "?limit=-1", "?labelSelector=", "?unknown=x", "?watch=false",
	} {
		steps = append(steps, step{do: "200 GET " + k.path + query})
	}
	for _, query := range []string{
		"?labelSelector=%3D%3D", "?resourceVersion=x", "?resourceVersionMatch=Exact", "?continue=x", "?limit=x",
		"?resourceVersion=0&resourceVersionMatch=Wrong", "?sendInitialEvents=true",
	} {
		code := "400"
		if strings.Contains(query, "Match") || strings.Contains(query, "send") {
			code = "422"
		}
		steps = append(steps, step{do: code + " GET " + k.path + query})
	}
	steps = append(steps, step{do: "400 GET " + k.path + "?fieldSelector=spec.absent%3Dx"})
	for _, accept := range []string{"application/yaml", "application/json", table, partialList, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "*/*", "text/html, */*;q=0.1"} {
		steps = append(steps, step{do: "200 GET " + k.path, head: []string{"Accept: " + accept}}, step{do: "200 GET " + k.path + "/a", head: []string{"Accept: " + strings.Replace(accept, "List;", ";", 1)}})
	}
	for _, accept := range []string{"text/html", "application/json;as=Table;v=v9;g=meta.k8s.io", "application/xml", "application/json;as=Absent;v=v1;g=meta.k8s.io"} {
		steps = append(steps, step{do: "406 GET " + k.path, head: []string{"Accept: " + accept}})
	}
	return append(steps,
		step{do: "200 GET " + k.path + "?limit=1", name: tier + ": first page", keep: map[string]string{"next": "metadata.continue"}},
		step{do: "200 GET " + k.path + "?limit=1&continue=${next}", name: tier + ": second page", keep: map[string]string{"next": "metadata.continue"}},
		step{do: "400 GET " + k.path + "?limit=1&continue=${next}&resourceVersion=1", name: tier + ": a page of a version"},
		step{do: "200 GET " + k.path + "?limit=5&continue=${next}", name: tier + ": last page"},
		step{do: "200 GET " + k.path + "?includeObject=Metadata", head: []string{"Accept: " + table}},
		step{do: "200 GET " + k.path + "?includeObject=Object", head: []string{"Accept: " + table}},
		step{do: "200 GET " + k.path + "/a", http1: true},
		step{do: "200 GET " + k.path + "/a?resourceVersion=0"},
		step{do: "200 GET " + k.path + "/a?pretty=1"},
		step{do: "404 GET " + k.path + "/absent"},
		step{do: "404 GET " + k.path + "/a/absent"},
		step{do: k.code("406", "200") + " GET " + k.path, head: []string{"Accept: application/*"}},
		step{do: k.code("405", "409") + " POST " + k.path + "/a", body: k.named("a")},
		step{do: k.code("405", "400") + " PUT " + k.path, body: k.named("a")},
		step{do: k.code("405", "400") + " PATCH " + k.path, body: "{}", head: []string{mergePatch}},
		step{do: k.code("405", "200") + " HEAD " + k.path},
		step{do: "405 OPTIONS " + k.path},
		step{do: "405 BREW " + k.path},
		step{do: "403 GET " + k.path, as: "mary"},
		step{do: "403 GET " + k.path + "/a", as: "nobody"},
	)
}

// watching watches for a second or what is there already.
func watching(k kind, tier string) (steps []step) {
	steps = append(steps, step{name: tier + ": create", do: "201 POST " + k.path, body: k.named("seen", k.with(k.number(1))), keep: map[string]string{"version": "metadata.resourceVersion"}},
		step{name: tier + ": change", do: "200 PATCH " + k.path + "/seen", body: `{"` + k.value + `": {"size": ` + k.number(2) + `}}`, head: []string{mergePatch}},
		step{name: tier + ": create another", do: "201 POST " + k.path, body: k.named("other", k.with(k.number(1)))},
		step{name: tier + ": delete it", do: "200 DELETE " + k.path + "/other"})
	only := "&fieldSelector=metadata.name%3Dseen"
	for _, query := range []string{
		"&resourceVersion=${version}" + only, "&resourceVersion=${version}", only, "&resourceVersion=0" + only,
		"&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true" + only,
		"&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=${version}" + only, "&labelSelector=is%3Dseen", "&pretty=true" + only,
	} {
		steps = append(steps, step{name: tier + ": watch" + query, do: "200 GET " + k.path + "?watch=true&timeoutSeconds=1" + query})
	}
	for _, accept := range []string{"application/json;stream=watch", table, partial} {
		steps = append(steps, step{name: tier + ": watch as " + accept, do: "200 GET " + k.path + "?watch=1&timeoutSeconds=1&resourceVersion=${version}", head: []string{"Accept: " + accept}})
	}
	steps = append(steps, step{name: tier + ": watch over HTTP/1.1", do: "200 GET " + k.path + "?watch=1&timeoutSeconds=1&resourceVersion=${version}", http1: true})
	for _, query := range []string{"&resourceVersion=x", "&sendInitialEvents=true", "&resourceVersionMatch=NotOlderThan"} {
		code := "422"
		if strings.HasSuffix(query, "=x") {
			code = "500"
		}
		steps = append(steps, step{name: tier + ": no watch" + query, do: code + " GET " + k.path + "?watch=true&timeoutSeconds=1" + query})
	}
	return append(steps,
		step{do: "406 GET " + k.path + "?watch=1&timeoutSeconds=1", head: []string{"Accept: text/html"}},
		step{do: "406 GET " + k.path + "?watch=1&timeoutSeconds=1", head: []string{"Accept: application/yaml"}},
		step{name: tier + ": the old way", do: "200 GET " + strings.Replace(k.path, "/namespaces", "/watch/namespaces", 1) + "?timeoutSeconds=1&resourceVersion=${version}"},
		step{name: tier + ": the old way, one", do: "200 GET " + strings.Replace(k.path, "/namespaces", "/watch/namespaces", 1) + "/seen?timeoutSeconds=1&resourceVersion=${version}"},
	)
}
