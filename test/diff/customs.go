package diff

import "slices"

const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// definition is a CRD of a plural of the scene's group; versions is JSON.
func definition(plural, kind, more, versions string) string {
	return `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "` + plural + `.${group}"}, "spec": {"group": "${group}", "scope": "Namespaced",
"names": {"plural": "` + plural + `", "kind": "` + kind + `"}` + more + `, "versions": [` + versions + `]}}`
}

func version(name, rest, schema string) string {
	return `{"name": "` + name + `", "served": true` + rest + `, "schema": {"openAPIV3Schema": ` + schema + `}}`
}

// customs are about what only custom resources have.
var customs = []scene{
	{name: "schemas", steps: slices.Concat(installed, []step{
		{name: "a default", do: "201 POST " + gadgets.path, body: gadgets.named("d", `"spec": {"size": 1}`)},
		{name: "pruned", do: "201 POST " + gadgets.path, body: gadgets.named("p", `"spec": {"size": 1, "absent": {"x": 1}}`)},
		{name: "pruned, strict", do: "400 POST " + gadgets.path + "?fieldValidation=Strict", body: gadgets.named("q", `"spec": {"size": 1, "absent": {"x": 1}}`)},
		{name: "too large", do: "422 POST " + gadgets.path, body: gadgets.named("x", `"spec": {"size": 101}`)},
		{name: "not in the list", do: "422 POST " + gadgets.path, body: gadgets.named("x", `"spec": {"color": "green"}`)},
		{name: "a wrong type", do: "422 POST " + gadgets.path, body: gadgets.named("x", `"spec": {"size": "one"}`)},
		{name: "a rule", do: "422 POST " + gadgets.path, body: gadgets.named("x", `"spec": {"size": 13}`)},
		{name: "a set with doubles", do: "422 POST " + gadgets.path, body: gadgets.named("x", `"spec": {"parts": ["a", "a"]}`)},
		{name: "selected by a field", do: "200 GET " + gadgets.path + "?fieldSelector=spec.color%3Dred"},
		{name: "selected by a field that is not selectable", do: "400 GET " + gadgets.path + "?fieldSelector=spec.size%3D1"},
		{name: "columns", do: "200 GET " + gadgets.path, head: []string{"Accept: " + table}},
		{name: "all namespaces", do: "200 GET /apis/${group}/v1/gadgets"},
		{name: "its discovery", do: "200 GET /apis/${group}/v1"},
		{name: "its group", do: "200 GET /apis/${group}"},
		{name: "its document", do: "200 GET /openapi/v3/apis/${group}/v1", settles: true, aggregation: true},
		{name: "another version", do: "404 GET /apis/${group}/v2/namespaces/${ns}/gadgets"},
		{name: "another resource", do: "404 GET /apis/${group}/v1/namespaces/${ns}/widgets"},
		{name: "at the wrong scope", do: "404 POST /apis/${group}/v1/gadgets", body: gadgets.named("x")},
		{name: "protobuf", do: "406 GET " + gadgets.path, head: []string{"Accept: " + kubeProtobuf}},
		{name: "protobuf or JSON", do: "200 GET " + gadgets.path, head: []string{"Accept: " + kubeProtobuf + ",application/json"}},
		{name: "metadata as protobuf", do: "200 GET " + gadgets.path, head: []string{"Accept: " + kubeProtobuf + ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}},
		{name: "the definition as a table", do: "200 GET " + crds + "/gadgets.${group}", head: []string{"Accept: " + table}},
		{name: "the definition", do: "200 GET " + crds + "/gadgets.${group}", settles: true},
		{name: "a group of nobody", do: "404 GET /apis/absent.${group}/v1/things"},
	})},
	{name: "definitions", steps: []step{
		{name: "without a schema", do: "422 POST " + crds, body: definition("a", "A", "", `{"name": "v1", "served": true, "storage": true}`)},
		{name: "two storage versions", do: "422 POST " + crds, body: definition("a", "A", "", version("v1", `, "storage": true`, `{"type": "object"}`)+","+version("v2", `, "storage": true`, `{"type": "object"}`))},
		{name: "not structural", do: "422 POST " + crds, body: definition("a", "A", "", version("v1", `, "storage": true`, `{"properties": {"x": {"x-kubernetes-int-or-string": true, "type": "string"}}}`))},
		{name: "a rule that costs too much", do: "422 POST " + crds, body: definition("a", "A", "", version("v1", `, "storage": true`,
			`{"type": "object", "properties": {"x": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}, "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}]}}}`))},
		{name: "a rule that is none", do: "422 POST " + crds, body: definition("a", "A", "", version("v1", `, "storage": true`, `{"type": "object", "x-kubernetes-validations": [{"rule": "self.absent +"}]}`))},
		{name: "a wrong name", do: "422 POST " + crds, body: `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"}, "spec": {}}`},
		{name: "a bad default", do: "422 POST " + crds, body: definition("a", "A", "", version("v1", `, "storage": true`, `{"type": "object", "properties": {"x": {"type": "integer", "default": "one"}}}`))},
		{name: "a protected group", do: "422 POST " + crds, body: `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a${n}.diff.k8s.io"}, "spec": {"group": "diff.k8s.io", "scope": "Cluster",
"names": {"plural": "a${n}", "kind": "A"}, "versions": [` + version("v1", `, "storage": true`, `{"type": "object"}`) + `]}}`},
		{name: "as mary", do: "403 POST " + crds, as: "mary", body: "{}"},
		{name: "two versions", do: "201 POST " + crds, body: definition("twos", "Two", `, "preserveUnknownFields": false`,
			version("v1", `, "storage": true, "deprecated": true, "deprecationWarning": "v1 is old"`, `{"type": "object", "x-kubernetes-preserve-unknown-fields": true}`)+","+
				version("v2", `, "storage": false`, `{"type": "object", "x-kubernetes-preserve-unknown-fields": true}`))},
		{name: "they are served", do: "200 GET /apis/${group}/v2/namespaces/${ns}/twos", settles: true},
		{name: "a deprecated version warns", do: "201 POST /apis/${group}/v1/namespaces/${ns}/twos", body: `{"apiVersion": "${group}/v1", "kind": "Two", "metadata": {"name": "t"}, "x": {"y": [1, 2.5, null]}}`},
		{name: "in the other version", do: "200 GET /apis/${group}/v2/namespaces/${ns}/twos/t"},
		{name: "no longer served", do: "200 PATCH " + crds + "/twos.${group}", head: []string{jsonPatch}, body: `[{"op": "replace", "path": "/spec/versions/0/served", "value": false}]`},
		{name: "it is gone", do: "404 GET /apis/${group}/v1/namespaces/${ns}/twos/t", settles: true},
		{name: "the group then", do: "200 GET /apis/${group}", settles: true},
		{name: "names that are taken", do: "201 POST " + crds, body: definition("others", "Two", "", version("v1", `, "storage": true`, `{"type": "object"}`))},
		{name: "they are refused", do: "200 GET " + crds + "/others.${group}", settles: true},
		{name: "a storage version removed", do: "422 PATCH " + crds + "/twos.${group}", head: []string{jsonPatch}, body: `[{"op": "remove", "path": "/spec/versions/0"}]`},
		{name: "its status", do: "200 GET " + crds + "/twos.${group}/status"},
		{name: "deleted", do: "200 DELETE " + crds + "/twos.${group}"},
		{name: "not found", do: "404 GET /apis/${group}/v2/namespaces/${ns}/twos/t", settles: true},
	}},
	{name: "conversion", steps: []step{
		{name: "by a webhook", do: "201 POST " + crds, body: definition("turns", "Turn", `, "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "${hook}/convert", "caBundle": "${hookCA}"}}}`,
			version("v1", `, "storage": true`, `{"type": "object", "x-kubernetes-preserve-unknown-fields": true}`)+","+version("v2", `, "storage": false`, `{"type": "object", "x-kubernetes-preserve-unknown-fields": true}`))},
		{name: "served", do: "200 GET /apis/${group}/v2/namespaces/${ns}/turns", settles: true},
		{name: "created in v1", do: "201 POST /apis/${group}/v1/namespaces/${ns}/turns", body: `{"apiVersion": "${group}/v1", "kind": "Turn", "metadata": {"name": "t"}, "spec": {"size": 3}}`},
		{name: "read in v2", do: "200 GET /apis/${group}/v2/namespaces/${ns}/turns/t"},
		{name: "listed in v2", do: "200 GET /apis/${group}/v2/namespaces/${ns}/turns"},
		{name: "patched in v2", do: "200 PATCH /apis/${group}/v2/namespaces/${ns}/turns/t", head: []string{mergePatch}, body: `{"spec": {"more": 1}}`},
		{name: "watched in v2", do: "200 GET /apis/${group}/v2/namespaces/${ns}/turns?watch=1&timeoutSeconds=1"},
		{name: "a webhook that refuses", do: "200 PATCH " + crds + "/turns.${group}", head: []string{mergePatch}, body: `{"spec": {"conversion": {"webhook": {"clientConfig": {"url": "${hook}/refuse"}}}}}`},
		{name: "is an error", do: "500 GET /apis/${group}/v2/namespaces/${ns}/turns/t", settles: true},
		{name: "not in the stored version", do: "200 GET /apis/${group}/v1/namespaces/${ns}/turns/t"},
		{name: "deleted", do: "200 DELETE " + crds + "/turns.${group}"},
	}},
}
