package aggregator

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// priority orders a group among groups and a version in its group, in discovery
// and thus in what kubectl prefers.
type priority struct{ group, version int32 }

// customResources is what every group version of a CRD gets.
var customResources = priority{1000, 100}

// definitions is the one built-in group that extensions serves; every other of
// its groups is made of CRDs.
const definitions = "apiextensions.k8s.io"

// builtIn are the priorities that kube-apiserver gives to built-in group
// versions. It registers no APIService for a group version without one, and
// neither do we. They are data of upstream's (k8s.io/kubernetes
// cmd/kube-apiserver/app and pkg/controlplane/apiserver, aggregator.go) that
// cannot be imported without importing core; a black-box test compares the
// APIServices of both.
var builtIn = func() map[metav1.GroupVersion]priority {
	table := map[metav1.GroupVersion]priority{}
	for _, g := range []struct {
		group    string
		priority int32
		versions map[string]int32
	}{
		{"", 18000, map[string]int32{"v1": 1}},
		{"apps", 17800, map[string]int32{"v1": 15}},
		{"events.k8s.io", 17750, map[string]int32{"v1": 15, "v1beta1": 5}},
		{"authentication.k8s.io", 17700, map[string]int32{"v1": 15, "v1beta1": 9, "v1alpha1": 1}},
		{"authorization.k8s.io", 17600, map[string]int32{"v1": 15}},
		{"autoscaling", 17500, map[string]int32{"v2": 30, "v1": 15, "v2beta1": 9, "v2beta2": 1}},
		{"batch", 17400, map[string]int32{"v1": 15, "v1beta1": 9, "v2alpha1": 9}},
		{"certificates.k8s.io", 17300, map[string]int32{"v1": 15, "v1beta1": 9, "v1alpha1": 1}},
		{"networking.k8s.io", 17200, map[string]int32{"v1": 15, "v1beta1": 9}},
		{"policy", 17100, map[string]int32{"v1": 15, "v1beta1": 9}},
		{"rbac.authorization.k8s.io", 17000, map[string]int32{"v1": 15}},
		{"storage.k8s.io", 16800, map[string]int32{"v1": 15, "v1beta1": 9, "v1alpha1": 1}},
		{"apiextensions.k8s.io", 16700, map[string]int32{"v1": 15}},
		{"admissionregistration.k8s.io", 16700, map[string]int32{"v1": 15, "v1beta1": 12, "v1alpha1": 9}},
		{"scheduling.k8s.io", 16600, map[string]int32{"v1": 15, "v1beta1": 9, "v1alpha3": 3}},
		{"coordination.k8s.io", 16500, map[string]int32{"v1": 15, "v1beta1": 13, "v1alpha2": 12}},
		{"node.k8s.io", 16300, map[string]int32{"v1": 15, "v1beta1": 9, "v1alpha1": 1}},
		{"discovery.k8s.io", 16200, map[string]int32{"v1": 15, "v1beta1": 12}},
		{"resource.k8s.io", 16200, map[string]int32{"v1": 21, "v1beta2": 15, "v1beta1": 9, "v1alpha3": 1}},
		{"flowcontrol.apiserver.k8s.io", 16100, map[string]int32{"v1": 21, "v1beta3": 18, "v1beta2": 15, "v1beta1": 12, "v1alpha1": 9}},
		{"internal.apiserver.k8s.io", 16000, map[string]int32{"v1alpha1": 9}},
		{"storagemigration.k8s.io", 15800, map[string]int32{"v1": 15, "v1beta1": 9}},
		{"lifecycle.k8s.io", 15700, map[string]int32{"v1alpha1": 1}},
	} {
		for version, p := range g.versions {
			table[metav1.GroupVersion{Group: g.group, Version: version}] = priority{g.priority, p}
		}
	}
	return table
}()
