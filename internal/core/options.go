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
	"k8s.io/component-base/cli/globalflag"
	"k8s.io/component-base/logs"
	kubeoptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"triptych.dev/triptych/internal/dialer"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// Options are all of kube-apiserver's, and how nodes are reached.
type Options struct {
	*kubeoptions.ServerRunOptions
	Dialer *dialer.Options

	public *serving.Public // in direct mode
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{ServerRunOptions: kubeoptions.NewServerRunOptions(), Dialer: dialer.NewOptions()}
}

// AddFlags registers every flag of core.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	sets := o.ServerRunOptions.Flags()
	globalflag.AddGlobalFlags(sets.FlagSet("global"), string(tier.Core), logs.SkipLoggingConfigurationFlags())
	for _, set := range sets.FlagSets {
		fs.AddFlagSet(set)
	}
	o.Dialer.AddFlags(fs)
	o.Dialer.AddKeyFlags(fs)
}

// NewCommand returns the program of the core tier.
func NewCommand() *cobra.Command {
	o := NewOptions()
	return process.NewCommand(tier.Core, "The Kubernetes API proper", o.AddFlags, o.Run)
}

// Run serves the tier until the process is told to stop.
func (o *Options) Run(flags *pflag.FlagSet, wiring string) error {
	// Upstream validates completed options, and completing needs the wiring.
	later := func() error { return nil }
	ctx, p, err := o.common().Start(tier.Core, flags, wiring, later)
	if err != nil {
		return err
	}
	completed, err := o.complete(ctx, p)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	return run(ctx, p, o, completed)
}

// common returns the options that every tier has; they are the same objects.
func (o *Options) common() *serving.Options {
	return &serving.Options{
		ServerRun: o.GenericServerRunOptions, Etcd: o.Etcd, Audit: o.Audit, Features: o.Features,
		APIEnablement: o.APIEnablement, Egress: o.EgressSelector, Traces: o.Traces, Metrics: o.Metrics, Logs: o.Logs,
	}
}

// complete fits upstream's options to a server that is handed its listeners: the
// public one where core is the head, and else none.
func (o *Options) complete(ctx context.Context, p *process.Process) (kubeoptions.CompletedOptions, error) {
	w := p.Wiring
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
	if w.IsHead() {
		if o.public, err = serving.OpenPublic(p); err != nil {
			return kubeoptions.CompletedOptions{}, err
		}
		o.SecureServing.Listener = o.public
	} else {
		// Never served with: named so that upstream makes no self-signed pair.
		o.SecureServing.ServerCert.CertKey.CertFile = w.PKI.Serving.Cert
		o.SecureServing.ServerCert.CertKey.KeyFile = w.PKI.Serving.Key
	}
	if !w.IsHead() && o.Authentication != nil {
		o.Authentication.TokenSuccessCacheTTL = serving.CoreTokenMemory
	}
	completed, err := o.Complete(ctx)
	if err != nil {
		return kubeoptions.CompletedOptions{}, err
	}
	return completed, utilerrors.NewAggregate(completed.Validate())
}
