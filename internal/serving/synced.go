package serving

import (
	"net/http"

	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/tier"
)

// RightsCheck is the readiness check of a tier that is told of rights by core.
func RightsCheck(name tier.Name, feed *rights.Feed) healthz.HealthChecker {
	return healthz.NamedCheck("rights-"+string(name), func(*http.Request) error { return feed.Err() })
}

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
