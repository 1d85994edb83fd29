package serving

import (
	"time"

	genericoptions "k8s.io/apiserver/pkg/server/options"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// never is longer than a process lives. Zero would have the API server not watch either
// how far others have compacted, which its caches go by.
const never = 10 * 365 * 24 * time.Hour

// leaveCompaction returns the options for a tier that shares an etcd with core, which
// compacts it: only core may. What the flag says stays what /flagz shows.
func leaveCompaction(w *wiring.Wiring, o *genericoptions.EtcdOptions) *genericoptions.EtcdOptions {
	if w.Tier == tier.Core || w.MainEtcd != nil || o.StorageConfig.CompactionInterval == 0 {
		return o
	}
	left := *o
	left.StorageConfig.CompactionInterval = never
	return &left
}
