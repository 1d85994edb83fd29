package core

import (
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
)

// The priorities of custom resources in direct mode are below upstream's default
// of 1000 and 15, which built-in group versions have where no aggregator sets
// them: whoever may create a CRD does not change what kubectl takes for a pod.
const (
	customGroup   = 500
	customVersion = 10
)

// directory is where groups of extensions are entered in core's discovery in
// direct mode: in the aggregated document, and with it in the plain list of
// groups, which an aggregator would make of APIServices. It is for one goroutine.
type directory struct {
	aggregated.ResourceManager
	plain plainGroups
	// own are the groups of core, whose entries in the plain list are core's alone.
	own sets.Set[string]
	// versions are those of each group of extensions.
	versions map[string][]string
}

// plainGroups is the part of upstream's root discovery that a directory uses.
type plainGroups interface {
	AddGroup(metav1.APIGroup)
	RemoveGroup(name string)
}

// newDirectory returns the directory in the documents of a core that lists these
// paths.
func newDirectory(documents aggregated.ResourceManager, plain plainGroups, listed []string) *directory {
	d := &directory{
		ResourceManager: documents.WithSource(aggregated.CRDSource),
		plain:           plain,
		own:             sets.New[string](),
		versions:        map[string][]string{},
	}
	for gv := range ownGroupVersions(listed) {
		group, _, _ := strings.Cut(gv, "/")
		d.own.Insert(group)
	}
	return d
}

// AddGroupVersion implements aggregated.ResourceManager.
func (d *directory) AddGroupVersion(group string, v apidiscoveryv2.APIVersionDiscovery) {
	d.ResourceManager.AddGroupVersion(group, v)
	if !slices.Contains(d.versions[group], v.Version) {
		d.versions[group] = append(d.versions[group], v.Version)
		d.list(group)
	}
}

// RemoveGroupVersion implements aggregated.ResourceManager.
func (d *directory) RemoveGroupVersion(gv metav1.GroupVersion) {
	d.ResourceManager.RemoveGroupVersion(gv)
	d.versions[gv.Group] = slices.DeleteFunc(d.versions[gv.Group], func(v string) bool { return v == gv.Version })
	d.list(gv.Group)
}

// list brings the plain list up to date with the versions of one group.
func (d *directory) list(name string) {
	if d.own.Has(name) {
		return
	}
	versions := d.versions[name]
	if len(versions) == 0 {
		d.plain.RemoveGroup(name)
		return
	}
	slices.SortFunc(versions, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
	group := metav1.APIGroup{Name: name}
	for _, v := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
	}
	group.PreferredVersion = group.Versions[0]
	d.plain.AddGroup(group)
}
