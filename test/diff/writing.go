package diff

import "slices"

// writing is about changes.
var writing = []scene{
	{name: "patches", steps: slices.Concat(installed, patches(configMaps, "core"), patches(gadgets, "custom"))},
	{name: "apply", steps: slices.Concat(installed, applies(configMaps, "core"), applies(gadgets, "custom"))},
	{name: "updates", steps: slices.Concat(installed, updates(configMaps, "core"), updates(gadgets, "custom"))},
	{name: "deletes", steps: slices.Concat(installed, deletes(configMaps, "core"), deletes(gadgets, "custom"))},
	{name: "bad bodies", steps: slices.Concat(installed, badBodies(configMaps, "core"), badBodies(gadgets, "custom"))},
	{name: "subresources", steps: slices.Concat(installed, []step{
		{do: "201 POST " + gadgets.path, body: gadgets.named("g", `"spec": {"size": 3}`, `"status": {"phase": "lost"}`)},
		{do: "200 GET " + gadgets.path + "/g/status"},
		{do: "200 GET " + gadgets.path + "/g/scale"},
		{do: "200 PATCH " + gadgets.path + "/g/scale", body: `{"spec": {"replicas": 5}}`, head: []string{mergePatch}},
		{do: "200 PATCH " + gadgets.path + "/g/status", body: `{"spec": {"size": 9}, "status": {"phase": "kept", "size": 2}}`, head: []string{mergePatch}},
		{name: "its version", do: "200 GET " + gadgets.path + "/g", keep: map[string]string{"version": "metadata.resourceVersion"}},
		{do: "200 PUT " + gadgets.path + "/g/status", body: gadgets.versioned("g", `"status": {"phase": "put"}`)},
		{do: "422 PATCH " + gadgets.path + "/g/scale", body: `{"spec": {"replicas": -1}}`, head: []string{mergePatch}},
		{name: "the gadget then", do: "200 GET " + gadgets.path + "/g"},
		{name: "a Deployment", do: "201 POST /apis/apps/v1/namespaces/${ns}/deployments", body: deployment},
		{do: "200 GET /apis/apps/v1/namespaces/${ns}/deployments/d/scale"},
		{do: "200 PATCH /apis/apps/v1/namespaces/${ns}/deployments/d/scale", body: `{"spec": {"replicas": 7}}`, head: []string{mergePatch}},
		{do: "200 PATCH /apis/apps/v1/namespaces/${ns}/deployments/d/status", body: `{"status": {"replicas": 2}}`, head: []string{mergePatch}},
		{name: "a strategic patch", do: "200 PATCH /apis/apps/v1/namespaces/${ns}/deployments/d", head: []string{strategicPatch},
			body: `{"spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "b"}]}, {"name": "e", "image": "f"}]}}}}`},
		{name: "the Deployment as a table", do: "200 GET /apis/apps/v1/namespaces/${ns}/deployments/d", head: []string{"Accept: " + table}},
		{name: "the Deployment as protobuf", do: "200 GET /apis/apps/v1/namespaces/${ns}/deployments/d", head: []string{"Accept: " + kubeProtobuf}},
		{name: "a Pod", do: "201 POST /api/v1/namespaces/${ns}/pods", body: pod},
		{name: "a PodDisruptionBudget", do: "201 POST /apis/policy/v1/namespaces/${ns}/poddisruptionbudgets",
			body: `{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}`},
		{name: "the Pod as a table", do: "200 GET /api/v1/namespaces/${ns}/pods", head: []string{"Accept: " + table}},
		{do: "200 GET /api/v1/namespaces/${ns}/pods/p/status"},
		{name: "binding to a node", do: "201 POST /api/v1/namespaces/${ns}/pods/p/binding", body: `{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "absent"}}`},
		{name: "binding again", do: "409 POST /api/v1/namespaces/${ns}/pods/p/binding", body: `{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "absent"}}`},
		{name: "logs of a node that is not there", do: "404 GET /api/v1/namespaces/${ns}/pods/p/log"},
		{name: "exec without upgrade", do: "404 GET /api/v1/namespaces/${ns}/pods/p/exec?command=x"},
		{name: "proxy to a Pod without address", do: "400 GET /api/v1/namespaces/${ns}/pods/p/proxy/"},
		{name: "ephemeral containers", do: "200 PATCH /api/v1/namespaces/${ns}/pods/p/ephemeralcontainers", head: []string{strategicPatch},
			body: `{"spec": {"ephemeralContainers": [{"name": "debug", "image": "x"}]}}`},
		{name: "eviction of a Pod that does not run", do: "201 POST /api/v1/namespaces/${ns}/pods/p/eviction", body: `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}`},
		{name: "the budget's status", do: "200 GET /apis/policy/v1/namespaces/${ns}/poddisruptionbudgets/b/status"},
		{name: "a token", do: "201 POST /api/v1/namespaces/${ns}/serviceaccounts/default/token", body: `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}`},
		{name: "a Service", do: "201 POST /api/v1/namespaces/${ns}/services", body: `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "p"}}}`},
		{name: "proxy to a Service without endpoints", do: "503 GET /api/v1/namespaces/${ns}/services/s/proxy/"},
		{name: "a HorizontalPodAutoscaler", do: "201 POST /apis/autoscaling/v2/namespaces/${ns}/horizontalpodautoscalers",
			body: `{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Gadget", "name": "g", "apiVersion": "${group}/v1"}}}`},
		{name: "it in another version", do: "200 GET /apis/autoscaling/v1/namespaces/${ns}/horizontalpodautoscalers/h"},
	})},
}

const deployment = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "d"}},
"template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "example.com/c", "env": [{"name": "X", "value": "y"}]}]}}}}`

const pod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"automountServiceAccountToken": false,
"containers": [{"name": "c", "image": "example.com/c", "resources": {"requests": {"cpu": "100m"}}}]}}`

func patches(k kind, tier string) []step {
	one := k.path + "/one"
	strategic := "200"
	if k.value == "spec" {
		strategic = "415" // there is none for custom resources
	}
	return []step{
		{name: tier + ": create", do: "201 POST " + k.path, body: k.named("one", k.with(k.number(1))), keep: map[string]string{"version": "metadata.resourceVersion", "uid": "metadata.uid"}},
		{name: tier + ": merge", do: "200 PATCH " + one, body: `{"metadata": {"labels": {"more": "yes"}}, "` + k.value + `": {"size": ` + k.number(2) + `}}`, head: []string{mergePatch}},
		{name: tier + ": merge null", do: "200 PATCH " + one, body: `{"metadata": {"labels": {"more": null}}}`, head: []string{mergePatch}},
		{name: tier + ": merge nothing", do: "200 PATCH " + one, body: `{}`, head: []string{mergePatch}},
		{name: tier + ": JSON", do: "200 PATCH " + one, body: `[{"op": "replace", "path": "/` + k.value + `/size", "value": ` + k.number(3) + `}]`, head: []string{jsonPatch}},
		{name: tier + ": JSON test fails", do: "422 PATCH " + one, body: `[{"op": "test", "path": "/` + k.value + `/size", "value": ` + k.number(9) + `}]`, head: []string{jsonPatch}},
		{name: tier + ": JSON of an absent path", do: "422 PATCH " + one, body: `[{"op": "remove", "path": "/absent"}]`, head: []string{jsonPatch}},
		{name: tier + ": JSON of a bad operation", do: "422 PATCH " + one, body: `[{"op": "brew", "path": "/x"}]`, head: []string{jsonPatch}},
		{name: tier + ": JSON that is none", do: "400 PATCH " + one, body: `{"op": "add"}`, head: []string{jsonPatch}},
		{name: tier + ": strategic", do: strategic + " PATCH " + one, body: `{"metadata": {"annotations": {"x": "y"}}}`, head: []string{strategicPatch}},
		{name: tier + ": of no known type", do: "415 PATCH " + one, body: `{}`, head: []string{"Content-Type: application/json"}},
		{name: tier + ": without a type", do: "415 PATCH " + one, body: `{}`, head: []string{"Content-Type:"}},
		{name: tier + ": of an old version", do: "409 PATCH " + one, body: `{"metadata": {"resourceVersion": "${version}"}, "` + k.value + `": {"size": ` + k.number(4) + `}}`, head: []string{mergePatch}},
		{name: tier + ": of another UID", do: "422 PATCH " + one, body: `{"metadata": {"uid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}`, head: []string{mergePatch}},
		{name: tier + ": another name", do: "400 PATCH " + one, body: `{"metadata": {"name": "two"}}`, head: []string{mergePatch}},
		{name: tier + ": dry run", do: "200 PATCH " + one + "?dryRun=All", body: `{"` + k.value + `": {"size": ` + k.number(5) + `}}`, head: []string{mergePatch}},
		{name: tier + ": wrong dry run", do: "422 PATCH " + one + "?dryRun=Some", body: `{}`, head: []string{mergePatch}},
		{name: tier + ": managed by", do: "200 PATCH " + one + "?fieldManager=me", body: `{"` + k.value + `": {"size": ` + k.number(6) + `}}`, head: []string{mergePatch}},
		{name: tier + ": managed by nonsense", do: "422 PATCH " + one + "?fieldManager=%00", body: `{}`, head: []string{mergePatch}},
		{name: tier + ": forced, which is for apply", do: "422 PATCH " + one + "?force=true", body: `{}`, head: []string{mergePatch}},
		{name: tier + ": of what is absent", do: "404 PATCH " + k.path + "/absent", body: `{}`, head: []string{mergePatch}},
		{name: tier + ": as mary", do: "403 PATCH " + one, body: `{}`, head: []string{mergePatch}, as: "mary"},
		{name: tier + ": a wrong type", do: "422 PATCH " + one, body: `{"metadata": {"labels": {"x": "/"}}}`, head: []string{mergePatch}},
		{name: tier + ": the object then", do: "200 GET " + one},
	}
}

func applies(k kind, tier string) []step {
	mine := k.path + "/mine"
	manifest := func(n int) string {
		return "{" + k.object + `, "metadata": {"name": "mine"}, ` + k.with(k.number(n)) + "}"
	}
	head := []string{applyPatch}
	return []step{
		{name: tier + ": without a manager", do: "422 PATCH " + mine, body: manifest(1), head: head},
		{name: tier + ": dry", do: "201 PATCH " + mine + "?fieldManager=one&dryRun=All", body: manifest(1), head: head},
		{name: tier + ": first", do: "201 PATCH " + mine + "?fieldManager=one", body: manifest(1), head: head},
		{name: tier + ": the same", do: "200 PATCH " + mine + "?fieldManager=one", body: manifest(1), head: head},
		{name: tier + ": by another", do: "409 PATCH " + mine + "?fieldManager=two", body: manifest(2), head: head},
		{name: tier + ": by another, with force", do: "200 PATCH " + mine + "?fieldManager=two&force=true", body: manifest(2), head: head},
		{name: tier + ": shared", do: "200 PATCH " + mine + "?fieldManager=three", body: manifest(2), head: head},
		{name: tier + ": another name", do: "400 PATCH " + mine + "?fieldManager=one", body: "{" + k.object + `, "metadata": {"name": "yours"}}`, head: head},
		{name: tier + ": no kind", do: "400 PATCH " + mine + "?fieldManager=one", body: `{"metadata": {"name": "mine"}}`, head: head},
		{name: tier + ": another kind", do: "400 PATCH " + mine + "?fieldManager=one", body: `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}}`, head: head},
		{name: tier + ": with managed fields", do: "400 PATCH " + mine + "?fieldManager=one", body: "{" + k.object + `, "metadata": {"name": "mine", "managedFields": [{}]}}`, head: head},
		{name: tier + ": YAML", do: "200 PATCH " + mine + "?fieldManager=four", body: yaml(k), head: head},
		{name: tier + ": given up", do: "200 PATCH " + mine + "?fieldManager=four", body: "{" + k.object + `, "metadata": {"name": "mine"}}`, head: head},
		{name: tier + ": the object then", do: "200 GET " + mine},
	}
}

func yaml(k kind) string {
	if k.value == "data" {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mine\n  labels: {from: yaml}\n"
	}
	return "apiVersion: ${group}/v1\nkind: Gadget\nmetadata:\n  name: mine\n  labels: {from: yaml}\n"
}

func updates(k kind, tier string) []step {
	one := k.path + "/one"
	return []step{
		{name: tier + ": dry create", do: "201 POST " + k.path + "?dryRun=All", body: k.named("one", k.with(k.number(1)))},
		{name: tier + ": create", do: "201 POST " + k.path, body: k.named("one", k.with(k.number(1))), keep: map[string]string{"version": "metadata.resourceVersion", "old": "metadata.resourceVersion"}},
		{name: tier + ": create again", do: "409 POST " + k.path, body: k.named("one")},
		{name: tier + ": generated name", do: "201 POST " + k.path + "?dryRun=All", body: "{" + k.object + `, "metadata": {"generateName": "generated-"}}`},
		{name: tier + ": without a name", do: "422 POST " + k.path, body: "{" + k.object + `, "metadata": {}}`},
		{name: tier + ": a bad name", do: "422 POST " + k.path, body: k.named("Not A Name")},
		{name: tier + ": with a version", do: "500 POST " + k.path, body: "{" + k.object + `, "metadata": {"name": "v", "resourceVersion": "1"}}`},
		{name: tier + ": in another namespace", do: "400 POST " + k.path, body: "{" + k.object + `, "metadata": {"name": "v", "namespace": "default"}}`},
		{name: tier + ": in an absent namespace", do: "404 POST " + elsewhere(k), body: k.named("one")},
		{name: tier + ": another kind", do: "400 POST " + k.path, body: `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}`},
		{name: tier + ": another version", do: "400 POST " + k.path, body: `{"apiVersion": "v9", "kind": "ConfigMap", "metadata": {"name": "x"}}`},
		{name: tier + ": put without a version", do: k.code("200", "422") + " PUT " + one, body: k.named("one")},
		{name: tier + ": its version", do: "200 GET " + one, keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": put", do: "200 PUT " + one, body: k.versioned("one", k.with(k.number(2))), keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": put an old version", do: "409 PUT " + one, body: "{" + k.object + `, "metadata": {"name": "one", "resourceVersion": "${old}"}}`},
		{name: tier + ": put another name", do: "400 PUT " + one, body: k.named("two")},
		{name: tier + ": put what is absent", do: "404 PUT " + k.path + "/absent", body: k.named("absent")},
		{name: tier + ": dry put", do: "200 PUT " + one + "?dryRun=All", body: k.versioned("one", k.with(k.number(7))), keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": unknown fields, warned of", do: "200 PUT " + one, body: k.versioned("one", `"absent": 1`), keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": unknown fields, strict", do: "400 PUT " + one + "?fieldValidation=Strict", body: k.versioned("one", `"absent": 1`)},
		{name: tier + ": unknown fields, ignored", do: "200 PUT " + one + "?fieldValidation=Ignore", body: k.versioned("one", `"absent": 1`), keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": doubled fields, strict", do: "400 PUT " + one + "?fieldValidation=Strict", body: k.versioned("one", `"kind": "x"`, `"kind": "y"`)},
		{name: tier + ": doubled fields, warned of", do: "200 PUT " + one, body: k.versioned("one", k.with(k.number(1)), k.with(k.number(2))), keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": wrong validation", do: "422 PUT " + one + "?fieldValidation=Some", body: k.versioned("one")},
		{name: tier + ": a wrong type", do: k.code("400", "422") + " PUT " + one, body: k.versioned("one", `"`+k.value+`": []`)},
		{name: tier + ": of a user agent with a name", do: "200 PUT " + one, body: k.versioned("one"), head: []string{"User-Agent: kubectl/v1 (x) y"}, keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": YAML", do: "200 PUT " + one, body: yamlOf(k), head: []string{"Content-Type: application/yaml"}, keep: map[string]string{"version": "metadata.resourceVersion"}},
		{name: tier + ": the object then", do: "200 GET " + one},
	}
}

func elsewhere(k kind) string {
	if k.value == "data" {
		return "/api/v1/namespaces/absent/configmaps"
	}
	return "/apis/${group}/v1/namespaces/absent/gadgets"
}

func yamlOf(k kind) string {
	if k.value == "data" {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, resourceVersion: \"${version}\"}\ndata: {a: b}\n"
	}
	return "apiVersion: ${group}/v1\nkind: Gadget\nmetadata: {name: one, resourceVersion: \"${version}\"}\nspec: {size: 4}\n"
}

func deletes(k kind, tier string) []step {
	steps := []step{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		steps = append(steps, step{name: tier + ": create " + name, do: "201 POST " + k.path, body: k.named(name)})
	}
	return append(steps,
		step{name: tier + ": dry", do: "200 DELETE " + k.path + "/a?dryRun=All"},
		step{name: tier + ": plain", do: "200 DELETE " + k.path + "/a"},
		step{name: tier + ": again", do: "404 DELETE " + k.path + "/a"},
		step{name: tier + ": of another UID", do: "409 DELETE " + k.path + "/b", body: `{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}`},
		step{name: tier + ": of another version", do: "409 DELETE " + k.path + "/b", body: `{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"resourceVersion": "1"}}`},
		step{name: tier + ": wrong policy", do: "422 DELETE " + k.path + "/b?propagationPolicy=Some"},
		step{name: tier + ": two policies", do: "422 DELETE " + k.path + "/b", body: `{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan", "orphanDependents": true}`},
		step{name: tier + ": options that are none", do: "400 DELETE " + k.path + "/b", body: `{"apiVersion": "v1", "kind": "Secret"}`},
		step{name: tier + ": in the foreground", do: "200 DELETE " + k.path + "/b?propagationPolicy=Foreground"},
		step{name: tier + ": waiting", do: "200 GET " + k.path + "/b"},
		step{name: tier + ": again in the background", do: "200 DELETE " + k.path + "/b?propagationPolicy=Background"},
		step{name: tier + ": orphaning", do: "200 DELETE " + k.path + "/c?propagationPolicy=Orphan"},
		step{name: tier + ": finalizers gone", do: "200 PATCH " + k.path + "/c", body: `{"metadata": {"finalizers": null}}`, head: []string{mergePatch}},
		step{name: tier + ": a collection, dry", do: "200 DELETE " + k.path + "?labelSelector=is%3Dd&dryRun=All"},
		step{name: tier + ": a collection", do: "200 DELETE " + k.path + "?labelSelector=is%3Dd"},
		step{name: tier + ": an empty collection", do: "200 DELETE " + k.path + "?labelSelector=is%3Dnothing"},
		step{name: tier + ": a collection as mary", do: "403 DELETE " + k.path, as: "mary"},
		step{name: tier + ": what is left", do: "200 GET " + k.path + "?labelSelector=of%3D${ns}"},
	)
}

func badBodies(k kind, tier string) []step {
	return []step{
		{name: tier + ": nothing", do: "400 POST " + k.path},
		{name: tier + ": no JSON", do: "400 POST " + k.path, body: "{"},
		{name: tier + ": an array", do: "400 POST " + k.path, body: "[]"},
		{name: tier + ": no kind", do: k.code("422", "400") + " POST " + k.path, body: "{}"},
		{name: tier + ": no such type", do: "415 POST " + k.path, body: "{}", head: []string{"Content-Type: text/html"}},
		{name: tier + ": broken type", do: "415 POST " + k.path, body: "{}", head: []string{"Content-Type: ;;"}},
		{name: tier + ": protobuf that is none", do: k.code("400", "000") + " POST " + k.path, body: "k8s\x00x", head: []string{"Content-Type: " + kubeProtobuf}},
		{name: tier + ": CBOR", do: "415 POST " + k.path, body: "\xa0", head: []string{"Content-Type: application/cbor"}},
		{name: tier + ": packed", do: "400 POST " + k.path, body: "\x1f\x8b", head: []string{"Content-Encoding: gzip"}},
		{name: tier + ": too large", do: "413 POST " + k.path, body: large(k, 3<<20+1<<10)},
		{name: tier + ": too large over HTTP/1.1", do: "413 POST " + k.path, body: large(k, 3<<20+1<<10), http1: true},
		{name: tier + ": too many annotations", do: "422 POST " + k.path, body: "{" + k.object + `, "metadata": {"name": "x", "annotations": {"a": "` + string(slices.Repeat([]byte("x"), 260<<10)) + `"}}}`},
		{name: tier + ": deep", do: "400 POST " + k.path, body: string(slices.Repeat([]byte("["), 20000))},
	}
}

func large(k kind, size int) string {
	return k.named("large", `"filler": "`+string(slices.Repeat([]byte("x"), size))+`"`)
}
