package diff

import "slices"

const (
	selfReview   = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	accessReview = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
	rbac         = "/apis/rbac.authorization.k8s.io/v1"
)

// me is a step that asks who one is.
func me(name, code, as string, head ...string) step {
	return step{name: name, do: code + " POST " + selfReview, body: `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`, as: as, head: head}
}

func may(name, spec string) step {
	return step{name: name, do: "201 POST " + accessReview, body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": ` + spec + `}`}
}

// people are about who asks and what they may.
var people = []scene{
	{name: "who", steps: []step{
		me("the administrator", "201", ""), me("mary", "201", "mary:one,two"), me("nobody", "403", "nobody"),
		me("a bad token", "401", "nobody", "Authorization: Bearer nonsense"), me("no token", "403", "nobody", "Authorization: Bearer"),
		me("a bad token over HTTP/1.1", "401", "nobody", "Authorization: Bearer nonsense"),
		me("a password", "403", "nobody", "Authorization: Basic bWFyeTpwb3BwaW5z"), me("a bad token and a certificate", "201", "mary", "Authorization: Bearer nonsense"),
		me("impersonated", "201", "", "Impersonate-User: jane"),
		me("impersonated groups", "201", "", "Impersonate-User: jane", "Impersonate-Group: one", "Impersonate-Group: two"),
		me("impersonated UID and extra", "201", "", "Impersonate-User: jane", "Impersonate-Uid: 7", "Impersonate-Extra-Color: red", "Impersonate-Extra-Color: blue", "Impersonate-Extra-A%2fb: c"),
		me("impersonated groups without a user", "400", "", "Impersonate-Group: one"), me("impersonated UID without a user", "400", "", "Impersonate-Uid: 7"),
		me("impersonated service account", "201", "", "Impersonate-User: system:serviceaccount:${ns}:default"),
		me("impersonated anonymous", "403", "", "Impersonate-User: system:anonymous"),
		me("impersonated master", "201", "", "Impersonate-User: x", "Impersonate-Group: system:masters"),
		me("may not impersonate", "403", "mary", "Impersonate-User: jane"), me("nobody impersonates", "403", "nobody", "Impersonate-User: jane"),
		me("a header of the front proxy", "201", "mary", "X-Remote-User: root", "X-Remote-Group: system:masters"),
		me("a header of ours", "201", "mary", "X-Triptych-Identity: AAAA"),
		{name: "too many groups", do: "403 GET /api/v1/namespaces/${ns}/secrets", as: "mary:a,b,c,d,e,f"},
		{name: "impersonated read", do: "403 GET /api/v1/namespaces/${ns}/secrets", head: []string{"Impersonate-User: jane"}},
		{name: "impersonated read of custom resources", do: "403 GET " + crds, head: []string{"Impersonate-User: jane"}},
		{name: "whoami as a table", do: "406 POST " + selfReview, body: `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`, head: []string{"Accept: " + table}},
		{do: "401 GET /api/v1/namespaces", as: "nobody", head: []string{"Authorization: Bearer x.y.z"}},
		{do: "401 GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions", as: "nobody", head: []string{"Authorization: Bearer x.y.z"}},
		{do: "401 GET /nothing", as: "nobody", head: []string{"Authorization: Bearer x.y.z"}},
		{do: "401 GET /version", as: "nobody", head: []string{"Authorization: Bearer x.y.z"}},
		{do: "403 GET /nothing", as: "nobody"}, {do: "403 GET /apis/absent.example.com/v1/things", as: "nobody"}, {do: "403 GET /apis/absent.example.com/v1/things", as: "mary", name: "mary asks for what is absent"},
	}},
	{name: "rights", steps: slices.Concat(installed, []step{
		may("of an administrator", `{"user": "x", "groups": ["system:masters"], "resourceAttributes": {"verb": "get", "resource": "pods"}}`),
		may("of mary", `{"user": "mary", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "${ns}"}}`),
		may("on a path", `{"user": "mary", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/apis"}}`),
		may("of a node", `{"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "${ns}", "name": "s"}}`),
		may("by selectors", `{"user": "mary", "resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]}}}`),
		{name: "of nothing", do: "422 POST " + accessReview, body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}}`},
		{name: "one's own", do: "201 POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", as: "mary", body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {"verb": "get", "group": "${group}", "resource": "gadgets"}}}`},
		{name: "local", do: "201 POST /apis/authorization.k8s.io/v1/namespaces/${ns}/localsubjectaccessreviews", body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "metadata": {"namespace": "${ns}"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "${ns}", "verb": "get", "resource": "pods"}}}`},
		{name: "local of another namespace", do: "422 POST /apis/authorization.k8s.io/v1/namespaces/${ns}/localsubjectaccessreviews", body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview", "metadata": {"namespace": "${ns}"}, "spec": {"user": "x", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}}`},
		{name: "rules", do: "201 POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews", as: "mary", body: `{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "${ns}"}}`},
		{name: "a token review", do: "201 POST /apis/authentication.k8s.io/v1/tokenreviews", body: `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x"}}`},
		{name: "a token review of nothing", do: "400 POST /apis/authentication.k8s.io/v1/tokenreviews", body: `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {}}`},
		{name: "a role", do: "201 POST " + rbac + "/namespaces/${ns}/roles", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"}, "rules": [{"apiGroups": ["", "${group}"], "resources": ["configmaps", "gadgets"], "verbs": ["get", "list"]}, {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "patch"]}]}`},
		{name: "is bound", do: "201 POST " + rbac + "/namespaces/${ns}/rolebindings", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mary"}]}`},
		{name: "mary may read", do: "200 GET " + configMaps.path, as: "mary", settles: true},
		{name: "mary may read gadgets", do: "200 GET " + gadgets.path, as: "mary", settles: true},
		{name: "mary may not write", do: "403 POST " + gadgets.path, as: "mary", body: gadgets.named("x")},
		{name: "mary may not read all", do: "403 GET /apis/${group}/v1/gadgets", as: "mary"},
		{name: "mary may not give what she has not", do: "403 POST " + rbac + "/namespaces/${ns}/roles", as: "mary", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}`},
		{name: "mary may give what she has", do: "201 POST " + rbac + "/namespaces/${ns}/roles", as: "mary", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "less"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}`},
		{name: "mary may not bind more", do: "403 POST " + rbac + "/namespaces/${ns}/rolebindings", as: "mary", body: `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "more"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mary"}]}`},
		{name: "another role for a binding", do: "422 PATCH " + rbac + "/namespaces/${ns}/rolebindings/reader", head: []string{mergePatch}, body: `{"roleRef": {"name": "less"}}`},
		{name: "a right is taken", do: "200 DELETE " + rbac + "/namespaces/${ns}/rolebindings/reader"},
		{name: "mary may not read any more", do: "403 GET " + configMaps.path, as: "mary", settles: true},
		{name: "mary may not read gadgets any more", do: "403 GET " + gadgets.path, as: "mary", settles: true},
	})},
}
