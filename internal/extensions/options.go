// Package extensions serves CustomResourceDefinitions and custom resources:
// k8s.io/apiextensions-apiserver on the empty delegate, reached over the hop. It
// knows no type of core's and holds none of its keys.
package extensions

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"triptych.dev/triptych/internal/admission"
	"triptych.dev/triptych/internal/authorization"
	"triptych.dev/triptych/internal/dialer"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/rights"
	"triptych.dev/triptych/internal/services"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// Options are those flags of kube-apiserver that concern extensions.
type Options struct {
	*serving.Options
	Authorization *authorization.Options
	Admission     *admission.Options
	Services      services.Options
	Rights        *rights.Options
	Dialer        *dialer.Options
	Caps          Caps
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{
		Options:       serving.NewOptions(),
		Authorization: authorization.NewOptions(),
		Admission:     admission.NewOptions(),
		Rights:        rights.NewOptions(),
		Dialer:        dialer.NewOptions(),
	}
}

// AddFlags registers every flag of extensions.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.Options.AddFlags(fs)
	o.Authorization.AddFlags(fs)
	o.Admission.AddFlags(fs)
	o.Services.AddFlags(fs)
	o.Rights.AddFlags(fs)
	o.Dialer.AddFlags(fs)
	o.Caps.AddFlags(fs)
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	return utilerrors.NewAggregate([]error{o.Options.Validate(), o.Authorization.Validate(), o.Admission.Validate(), o.Rights.Validate(), o.Caps.Validate()})
}

// NewCommand returns the program of the extensions tier.
func NewCommand() *cobra.Command {
	o := NewOptions()
	return process.NewCommand(tier.Extensions, "CustomResourceDefinitions and custom resources", o.AddFlags, o.Run)
}

// Run serves the tier until the process is told to stop.
func (o *Options) Run(flags *pflag.FlagSet, wiring string) error {
	ctx, p, err := o.Start(tier.Extensions, flags, wiring, o.Validate)
	if err != nil {
		return err
	}
	return run(ctx, p, o)
}
