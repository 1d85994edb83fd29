// Package router decides which tier serves a request, before the handler chain
// of the tier that asks sees it: what goes to another tier must not be audited,
// queued and authorized twice.
//
// It decides by group *and* version. By group alone, whoever may create a CRD
// in rbac.authorization.k8s.io could divert that group; so built-in group
// versions always win, and a CRD in another version of a built-in group is
// still served by extensions.
package router

import (
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// Table says who serves what, as one tier knows it. It is immutable.
type Table struct {
	// Self is the tier that asks. It serves what it lists in Own.
	Self tier.Name
	// Own are path prefixes outside /api and /apis that Self serves: "/healthz"
	// stands for itself and all below it. "" stands for "/" alone.
	Own []string
	// Legacy serves /api.
	Legacy tier.Name
	// GroupVersions maps "group/version" to the tier that serves it.
	GroupVersions map[string]tier.Name
	// Groups maps a group to the tier that serves the document /apis/<group>.
	Groups map[string]tier.Name
	// OtherVersions maps a group to the tier that answers for those versions of
	// it that nobody serves.
	OtherVersions map[string]tier.Name
	// OtherGroups serves what is in no map: the delegate, which knows more.
	OtherGroups tier.Name
	// OtherPaths serves every path that no rule names.
	OtherPaths tier.Name
}

const apis = "/apis/"

// Owner returns the tier that serves path, the decoded path of a request's URL.
// It allocates nothing.
func (t *Table) Owner(path string) tier.Name {
	switch {
	case path == "/apis" || path == apis:
		return t.Self
	case strings.HasPrefix(path, apis):
		return t.groupOwner(path[len(apis):])
	case below(path, "/api"):
		return t.Legacy
	}
	for _, prefix := range t.Own {
		if below(path, prefix) {
			return t.Self
		}
	}
	return t.OtherPaths
}

// groupOwner takes what follows /apis/ : "group", "group/", "group/version" or
// "group/version/...".
func (t *Table) groupOwner(rest string) tier.Name {
	group, version, ok := strings.Cut(rest, "/")
	if !ok || version == "" {
		if owner, known := t.Groups[group]; known {
			return owner
		}
		return t.OtherGroups
	}
	gv := rest
	if i := strings.IndexByte(version, '/'); i >= 0 {
		gv = rest[:len(group)+1+i]
	}
	if owner, known := t.GroupVersions[gv]; known {
		return owner
	}
	if owner, known := t.OtherVersions[group]; known {
		return owner
	}
	return t.OtherGroups
}

// below tells whether path is prefix or lies under it.
func below(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) &&
		(len(path) == len(prefix) || path[len(prefix)] == '/') && (prefix != "" || path == "/")
}
