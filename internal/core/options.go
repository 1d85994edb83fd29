// Package core is the Kubernetes API proper: upstream's control plane with its
// own resources, its tokens and its nodes, reached over the hop. Its delegate is
// extensions.
package core

import (
	"context"
	"net"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// Options are all of kube-apiserver's and the wiring.
type Options struct {
	*kubeoptions.ServerRunOptions
	WiringFile string
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{ServerRunOptions: kubeoptions.NewServerRunOptions()}
}

// AddFlags registers every flag of core.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	sets := o.ServerRunOptions.Flags()
	globalflag.AddGlobalFlags(sets.FlagSet("global"), string(tier.Core), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	fs.StringVar(&o.WiringFile, "wiring", "", "File that tells this process its listeners, its certificates and where the other tiers are.")
}

// NewCommand returns the program of the core tier.
func NewCommand() *cobra.Command {
	o := NewOptions()
	cmd := &cobra.Command{
		Use:   string(tier.Core),
		Short: "The Kubernetes API proper, as one tier of Triptych; started by the supervisor",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return Run(o, cmd.Flags()) },
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

// Run serves the tier until the process is told to stop.
func Run(o *Options, flags *pflag.FlagSet) error {
	if err := o.common().Activate(); err != nil {
		return process.ConfigurationError{Err: err}
	}
	// The tiers' own calls would log the warnings meant for users.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx, p, err := process.Start(tier.Core, o.WiringFile, flags)
	if err != nil {
		return err
	}
	completed, err := o.complete(ctx, p.Wiring)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	return run(ctx, p, o.common(), completed)
}

// common returns the options that every tier has; they are the same objects.
func (o *Options) common() *serving.Options {
	return &serving.Options{
		ServerRun: o.GenericServerRunOptions, Etcd: o.Etcd, Audit: o.Audit, Features: o.Features,
		APIEnablement: o.APIEnablement, Egress: o.EgressSelector, Traces: o.Traces, Metrics: o.Metrics, Logs: o.Logs,
	}
}

// complete fits upstream's options to a server that has no port of its own.
func (o *Options) complete(ctx context.Context, w *wiring.Wiring) (kubeoptions.CompletedOptions, error) {
	host, port, err := net.SplitHostPort(w.PublicAddress)
	if err != nil {
		return kubeoptions.CompletedOptions{}, err
	}
	if o.GenericServerRunOptions.AdvertiseAddress == nil {
		o.GenericServerRunOptions.AdvertiseAddress = net.ParseIP(host)
	}
	if o.SecureServing.BindPort, err = strconv.Atoi(port); err != nil {
		return kubeoptions.CompletedOptions{}, err
	}
	// Never served with: named so that upstream makes no self-signed pair.
	o.SecureServing.ServerCert.CertKey.CertFile = w.PKI.Serving.Cert
	o.SecureServing.ServerCert.CertKey.KeyFile = w.PKI.Serving.Key
	completed, err := o.Complete(ctx)
	if err != nil {
		return kubeoptions.CompletedOptions{}, err
	}
	return completed, utilerrors.NewAggregate(completed.Validate())
}
