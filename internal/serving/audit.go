package serving

import (
	"io"
	"os"

	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	pluginlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"

	"triptych.dev/triptych/internal/auditlog"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// TierAnnotation is on every audit event and names the tier that judged the
// request.
const TierAnnotation = "triptych.dev/tier"

// ApplyAudit configures c as the options say. Upstream's backend would write the
// file of --audit-log-path itself; three processes cannot rotate one file, so
// where the wiring has a connection to the log, events go there.
func ApplyAudit(p *process.Process, o *genericoptions.AuditOptions, c *genericapiserver.Config) error {
	mine := *o
	if p.Wiring.AuditLog != 0 {
		mine.LogOptions.Path = ""
	}
	if err := mine.ApplyTo(c); err != nil {
		return err
	}
	if p.Wiring.AuditLog != 0 {
		w, err := auditlog.NewWriter(os.NewFile(uintptr(p.Wiring.AuditLog), "audit log"))
		if err != nil {
			return err
		}
		if c.AuditPolicyRuleEvaluator != nil {
			c.AuditBackend = union(logBackend(w, &o.LogOptions), c.AuditBackend)
		}
	}
	if c.AuditBackend != nil {
		c.AuditBackend = ofTier{c.AuditBackend, p.Wiring.Tier}
	}
	return nil
}

func union(log, webhook audit.Backend) audit.Backend {
	if webhook == nil {
		return log
	}
	return audit.Union(log, webhook)
}

// logBackend wraps the backend that writes to w as --audit-log-mode and
// --audit-log-truncate-enabled say. The options are valid.
func logBackend(w io.Writer, o *genericoptions.AuditLogOptions) audit.Backend {
	gv, _ := schema.ParseGroupVersion(o.GroupVersionString)
	backend := pluginlog.NewBackend(w, o.Format, gv)
	switch o.BatchOptions.Mode {
	case genericoptions.ModeBatch:
		backend = buffered.NewBackend(backend, o.BatchOptions.BatchConfig)
	case genericoptions.ModeBlocking:
		backend = forgiving{backend}
	}
	if o.TruncateOptions.Enabled {
		backend = truncate.NewBackend(backend, o.TruncateOptions.TruncateConfig, gv)
	}
	return backend
}

// forgiving is a backend whose failures fail no request.
type forgiving struct{ audit.Backend }

func (b forgiving) ProcessEvents(events ...*auditinternal.Event) bool {
	b.Backend.ProcessEvents(events...)
	return true
}

// ofTier writes the tier into each event. The caller holds the event's lock.
type ofTier struct {
	audit.Backend
	tier tier.Name
}

func (b ofTier) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, event := range events {
		if event.Annotations == nil {
			event.Annotations = map[string]string{}
		}
		event.Annotations[TierAnnotation] = string(b.tier)
	}
	return b.Backend.ProcessEvents(events...)
}
