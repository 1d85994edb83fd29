// Code generated from the registries of core. DO NOT EDIT.

package keyspace

// builtIn are the first segments, below --etcd-prefix, of the keys of what core
// stores, in their order.
var builtIn = []string{
	"certificatesigningrequests",        // certificatesigningrequests.certificates.k8s.io
	"clusterrolebindings",               // clusterrolebindings.rbac.authorization.k8s.io
	"clusterroles",                      // clusterroles.rbac.authorization.k8s.io
	"clustertrustbundles",               // clustertrustbundles.certificates.k8s.io
	"compositepodgroups",                // compositepodgroups.scheduling.k8s.io
	"configmaps",                        // configmaps
	"controllerrevisions",               // controllerrevisions.apps
	"controllers",                       // replicationcontrollers
	"cronjobs",                          // cronjobs.batch
	"csidrivers",                        // csidrivers.storage.k8s.io
	"csinodes",                          // csinodes.storage.k8s.io
	"csistoragecapacities",              // csistoragecapacities.storage.k8s.io
	"daemonsets",                        // daemonsets.apps
	"deployments",                       // deployments.apps
	"deviceclasses",                     // deviceclasses.resource.k8s.io
	"devicetaintrules",                  // devicetaintrules.resource.k8s.io
	"endpointslices",                    // endpointslices.discovery.k8s.io
	"events",                            // events
	"evictionrequests",                  // evictionrequests.lifecycle.k8s.io
	"evictions",                         // evictions.lifecycle.k8s.io
	"flowschemas",                       // flowschemas.flowcontrol.apiserver.k8s.io
	"horizontalpodautoscalers",          // horizontalpodautoscalers.autoscaling
	"ingress",                           // ingresses.networking.k8s.io
	"ingressclasses",                    // ingressclasses.networking.k8s.io
	"ipaddresses",                       // ipaddresses.networking.k8s.io
	"jobs",                              // jobs.batch
	"leasecandidates",                   // leasecandidates.coordination.k8s.io
	"leases",                            // leases.coordination.k8s.io
	"limitranges",                       // limitranges
	"masterleases",                      // the endpoints of the kubernetes Service
	"minions",                           // nodes
	"mutatingadmissionpolicies",         // mutatingadmissionpolicies.admissionregistration.k8s.io
	"mutatingadmissionpolicybindings",   // mutatingadmissionpolicybindings.admissionregistration.k8s.io
	"mutatingwebhookconfigurations",     // mutatingwebhookconfigurations.admissionregistration.k8s.io
	"namespaces",                        // namespaces
	"networkpolicies",                   // networkpolicies.networking.k8s.io
	"peerserverleases",                  // where the peers of a server are
	"persistentvolumeclaims",            // persistentvolumeclaims
	"persistentvolumes",                 // persistentvolumes
	"podcertificaterequests",            // podcertificaterequests.certificates.k8s.io
	"poddisruptionbudgets",              // poddisruptionbudgets.policy
	"podgroups",                         // podgroups.scheduling.k8s.io
	"pods",                              // pods
	"podtemplates",                      // podtemplates
	"priorityclasses",                   // priorityclasses.scheduling.k8s.io
	"prioritylevelconfigurations",       // prioritylevelconfigurations.flowcontrol.apiserver.k8s.io
	"ranges",                            // which addresses and ports of Services are taken
	"replicasets",                       // replicasets.apps
	"resourceclaims",                    // resourceclaims.resource.k8s.io
	"resourceclaimtemplates",            // resourceclaimtemplates.resource.k8s.io
	"resourcepoolstatusrequests",        // resourcepoolstatusrequests.resource.k8s.io
	"resourcequotas",                    // resourcequotas
	"resourceslices",                    // resourceslices.resource.k8s.io
	"rolebindings",                      // rolebindings.rbac.authorization.k8s.io
	"roles",                             // roles.rbac.authorization.k8s.io
	"runtimeclasses",                    // runtimeclasses.node.k8s.io
	"secrets",                           // secrets
	"serviceaccounts",                   // serviceaccounts
	"servicecidrs",                      // servicecidrs.networking.k8s.io
	"services",                          // endpoints, services
	"statefulsets",                      // statefulsets.apps
	"storageclasses",                    // storageclasses.storage.k8s.io
	"storageversionmigrations",          // storageversionmigrations.storagemigration.k8s.io
	"storageversions",                   // storageversions.internal.apiserver.k8s.io
	"validatingadmissionpolicies",       // validatingadmissionpolicies.admissionregistration.k8s.io
	"validatingadmissionpolicybindings", // validatingadmissionpolicybindings.admissionregistration.k8s.io
	"validatingwebhookconfigurations",   // validatingwebhookconfigurations.admissionregistration.k8s.io
	"volumeattachments",                 // volumeattachments.storage.k8s.io
	"volumeattributesclasses",           // volumeattributesclasses.storage.k8s.io
	"workloads",                         // workloads.scheduling.k8s.io
}
