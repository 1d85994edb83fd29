// Package serving builds what the API servers of the three tiers have in
// common: the generic configuration that upstream makes once for one process
// (k8s.io/kubernetes/pkg/controlplane/apiserver BuildGenericConfig) and that
// three processes need three times, each with another loopback, another client
// and another way to know who asks.
//
// Upstream's function is not used because it makes every client on the
// process' own listener and authenticates by a token that no other process
// knows. The steps are upstream's own exported ones, in its order.
package serving

import (
	_ "time/tzdata" // time zones of CronJobs and of expressions, on hosts and in images that have none

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/component-base/metrics"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the metrics of clients, queues and the build,
	_ "k8s.io/component-base/metrics/prometheus/version"  // which kube-apiserver has too
	_ "k8s.io/component-base/metrics/prometheus/workqueue"
	_ "k8s.io/kubernetes/pkg/features" // every tier takes every gate of kube-apiserver
)

func init() {
	utilruntime.Must(logsapi.AddFeatureGates(utilfeature.DefaultMutableFeatureGate))
}

// DefaultEtcdPrefix is where kube-apiserver keeps its data, so that it can take
// the data over, and we its.
const DefaultEtcdPrefix = "/registry"

// Options are the flags that every tier takes, with kube-apiserver's names,
// meanings and defaults. Core fills them from kube-apiserver's own options.
type Options struct {
	ServerRun     *genericoptions.ServerRunOptions
	Etcd          *genericoptions.EtcdOptions
	Audit         *genericoptions.AuditOptions
	Features      *genericoptions.FeatureOptions
	APIEnablement *genericoptions.APIEnablementOptions
	Egress        *genericoptions.EgressSelectorOptions
	Traces        *genericoptions.TracingOptions
	Metrics       *metrics.Options
	Logs          *logs.Options
}

// NewOptions returns options with kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{
		ServerRun:     genericoptions.NewServerRunOptions(),
		Etcd:          genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig(DefaultEtcdPrefix, nil)),
		Audit:         genericoptions.NewAuditOptions(),
		Features:      genericoptions.NewFeatureOptions(),
		APIEnablement: genericoptions.NewAPIEnablementOptions(),
		Egress:        genericoptions.NewEgressSelectorOptions(),
		Traces:        genericoptions.NewTracingOptions(),
		Metrics:       metrics.NewOptions(),
		Logs:          logs.NewOptions(),
	}
}

// AddFlags registers all of them.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.ServerRun.AddUniversalFlags(fs)
	o.Etcd.AddFlags(fs)
	o.Audit.AddFlags(fs)
	o.Features.AddFlags(fs)
	o.APIEnablement.AddFlags(fs)
	o.Egress.AddFlags(fs)
	o.Traces.AddFlags(fs)
	o.Metrics.AddFlags(fs)
	logsapi.AddFlags(o.Logs, fs)
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	errs = append(errs, o.ServerRun.Validate()...)
	errs = append(errs, o.Etcd.Validate()...)
	errs = append(errs, o.Audit.Validate()...)
	errs = append(errs, o.Features.Validate()...)
	errs = append(errs, o.Egress.Validate()...)
	errs = append(errs, o.Traces.Validate()...)
	errs = append(errs, o.Metrics.Validate()...)
	return utilerrors.NewAggregate(errs)
}

// Activate makes the feature gates, the emulated version and the logging flags
// take effect. It comes before anything that asks for a gate.
func (o *Options) Activate() error {
	if err := o.ServerRun.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	utilfeature.DefaultMutableFeatureGate.AddMetrics()
	o.ServerRun.ComponentGlobalsRegistry.AddMetrics()
	return logsapi.ValidateAndApply(o.Logs, utilfeature.DefaultFeatureGate)
}
