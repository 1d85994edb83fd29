package serving

import (
	"sync/atomic"

	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
)

// discoveryManager is upstream's, which calls back whenever its document changes
// but for one case: a whole group is removed, as with the last CRD in it. The
// other tiers would take the group for served until something else changes.
type discoveryManager struct {
	aggregated.ResourceManager
	callback *atomic.Pointer[func()]
}

// NewDiscoveryManager returns a manager of the document at /apis for a server whose
// groups come and go.
func NewDiscoveryManager() aggregated.ResourceManager {
	return discoveryManager{aggregated.NewResourceManager("apis"), &atomic.Pointer[func()]{}}
}

// AddInvalidationCallback implements aggregated.ResourceManager.
func (m discoveryManager) AddInvalidationCallback(callback func()) {
	m.callback.Store(&callback)
	m.ResourceManager.AddInvalidationCallback(callback)
}

// RemoveGroup implements aggregated.ResourceManager.
func (m discoveryManager) RemoveGroup(name string) {
	m.ResourceManager.RemoveGroup(name)
	if callback := m.callback.Load(); callback != nil {
		(*callback)()
	}
}

// WithSource implements aggregated.ResourceManager.
func (m discoveryManager) WithSource(source aggregated.Source) aggregated.ResourceManager {
	return discoveryManager{m.ResourceManager.WithSource(source), m.callback}
}
