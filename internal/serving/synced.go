package serving

import (
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// RightsSynced returns a function that tells whether every role and binding
// there was at the start is known.
func RightsSynced(informers informers.SharedInformerFactory) func() bool {
	rbac := informers.Rbac().V1()
	synced := []cache.InformerSynced{
		rbac.Roles().Informer().HasSynced, rbac.RoleBindings().Informer().HasSynced,
		rbac.ClusterRoles().Informer().HasSynced, rbac.ClusterRoleBindings().Informer().HasSynced,
	}
	return func() bool {
		for _, done := range synced {
			if !done() {
				return false
			}
		}
		return true
	}
}
