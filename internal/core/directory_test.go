package core

import (
	"maps"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
)

// groups is the plain list of groups: the versions of each, the preferred first.
type groups map[string]string

func (g groups) AddGroup(group metav1.APIGroup) {
	versions := []string{group.PreferredVersion.Version}
	for _, v := range group.Versions {
		if v.GroupVersion != group.Name+"/"+v.Version {
			panic("the version of " + group.Name + " is called " + v.GroupVersion)
		}
		versions = append(versions, v.Version)
	}
	g[group.Name] = strings.Join(versions, " ")
}

func (g groups) RemoveGroup(name string) { delete(g, name) }

func TestTheDirectoryKeepsThePlainListUpToDate(t *testing.T) {
	plain := groups{}
	d := newDirectory(aggregated.NewResourceManager("apis"), plain, listed)
	want := func(what string, want groups) {
		t.Helper()
		if !maps.Equal(plain, want) {
			t.Errorf("%s: the list is %v, want %v", what, plain, want)
		}
	}
	add := func(group, version string) {
		d.AddGroupVersion(group, apidiscoveryv2.APIVersionDiscovery{Version: version})
	}
	add("example.org", "v1alpha1")
	add("example.org", "v1")
	add("example.org", "v2beta1")
	add("example.org", "v1")
	want("after three versions", groups{"example.org": "v1 v1 v2beta1 v1alpha1"})
	d.RemoveGroupVersion(metav1.GroupVersion{Group: "example.org", Version: "v1"})
	want("without one", groups{"example.org": "v2beta1 v2beta1 v1alpha1"})
	// A CRD in another version of a built-in group does not speak for the group.
	add("apps", "v9")
	want("with a built-in group", groups{"example.org": "v2beta1 v2beta1 v1alpha1"})
	for _, v := range []string{"v2beta1", "v1alpha1"} {
		d.RemoveGroupVersion(metav1.GroupVersion{Group: "example.org", Version: v})
	}
	d.RemoveGroupVersion(metav1.GroupVersion{Group: "apps", Version: "v9"})
	want("at the end", groups{})
}

func TestOwnGroupVersionsAreThoseOfListedPaths(t *testing.T) {
	got := ownGroupVersions([]string{"/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/apis/apps/v1/status", "/healthz"})
	if names := slices.Collect(maps.Keys(got)); !slices.Equal(names, []string{"apps/v1"}) {
		t.Errorf("got %v", names)
	}
}
