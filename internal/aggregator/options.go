// Package aggregator is the head: it owns the secure port, knows the clients,
// serves APIServices and what lies behind them, and delegates the rest to core
// and extensions.
package aggregator

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"triptych.dev/triptych/internal/admission"
	"triptych.dev/triptych/internal/authentication"
	"triptych.dev/triptych/internal/authorization"
	"triptych.dev/triptych/internal/dialer"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/services"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// Options are those flags of kube-apiserver that concern the head.
type Options struct {
	*serving.Options
	SecureServing  *genericoptions.SecureServingOptions
	Authentication *authentication.Options
	Authorization  *authorization.Options
	Admission      *admission.Options
	Services       services.Options
	Rights         *rights.Options
	Dialer         *dialer.Options

	ProxyClientCertFile, ProxyClientKeyFile string
	RejectForwardingRedirects               bool

	public *serving.Public
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	secure := genericoptions.NewSecureServingOptions()
	secure.BindPort, secure.Required = 6443, true
	return &Options{
		Options:                   serving.NewOptions(),
		SecureServing:             secure,
		Authentication:            authentication.NewOptions(),
		Authorization:             authorization.NewOptions(),
		Admission:                 admission.NewOptions(),
		Rights:                    rights.NewOptions(),
		Dialer:                    dialer.NewOptions(),
		RejectForwardingRedirects: true,
	}
}

// AddFlags registers every flag of the head.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.Options.AddFlags(fs)
	o.SecureServing.AddFlags(fs)
	o.Authentication.AddFlags(fs)
	o.Authorization.AddFlags(fs)
	o.Admission.AddFlags(fs)
	o.Services.AddFlags(fs)
	o.Rights.AddFlags(fs)
	o.Dialer.AddFlags(fs)
	fs.StringVar(&o.ProxyClientCertFile, "proxy-client-cert-file", "", "Certificate by which aggregated API servers know the head.")
	fs.StringVar(&o.ProxyClientKeyFile, "proxy-client-key-file", "", "Key of --proxy-client-cert-file.")
	fs.BoolVar(&o.RejectForwardingRedirects, "aggregator-reject-forwarding-redirect", true, "Do not pass redirects of aggregated API servers on to clients.")
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	if o.Authorization.ConfigFile == "" {
		o.Authentication.ForbidAnonymousWith(o.Authorization.Modes)
	}
	errs := append([]error{o.Options.Validate(), o.Authentication.Validate(), o.Authorization.Validate(), o.Admission.Validate(), o.Rights.Validate()},
		o.SecureServing.Validate()...)
	if (o.ProxyClientCertFile == "") != (o.ProxyClientKeyFile == "") {
		errs = append(errs, fmt.Errorf("--proxy-client-cert-file and --proxy-client-key-file go together"))
	}
	return utilerrors.NewAggregate(errs)
}

// NewCommand returns the program of the aggregator tier.
func NewCommand() *cobra.Command {
	o := NewOptions()
	return process.NewCommand(tier.Aggregator, "The head of the API server", o.AddFlags, o.Run)
}

// Run serves the tier until the process is told to stop.
func (o *Options) Run(flags *pflag.FlagSet, wiring string) error {
	ctx, p, err := o.Start(tier.Aggregator, flags, wiring, o.Validate)
	if err != nil {
		return err
	}
	return run(ctx, p, o)
}

// listen takes over the public socket.
func (o *Options) listen(p *process.Process) error {
	var err error
	if o.public, err = serving.OpenPublic(p); err != nil {
		return err
	}
	o.SecureServing.Listener = o.public
	return nil
}
