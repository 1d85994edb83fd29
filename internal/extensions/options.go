// Package extensions serves CustomResourceDefinitions and custom resources:
// k8s.io/apiextensions-apiserver on the empty delegate, reached over the hop. It
// knows no type of core's and holds none of its keys.
package extensions

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/admission"
	"triptych.dev/triptych/internal/authorization"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/serving"
	"triptych.dev/triptych/internal/tier"
)

// Options are those flags of kube-apiserver that concern extensions, and the
// wiring.
type Options struct {
	*serving.Options
	Authorization *authorization.Options
	Admission     *admission.Options
	WiringFile    string
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{
		Options:       serving.NewOptions(),
		Authorization: authorization.NewOptions(),
		Admission:     admission.NewOptions(),
	}
}

// AddFlags registers every flag of extensions.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.Options.AddFlags(fs)
	o.Authorization.AddFlags(fs)
	o.Admission.AddFlags(fs)
	fs.StringVar(&o.WiringFile, "wiring", "", "File that tells this process its listeners, its certificates and where the other tiers are.")
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	return utilerrors.NewAggregate([]error{o.Options.Validate(), o.Authorization.Validate(), o.Admission.Validate()})
}

// NewCommand returns the program of the extensions tier.
func NewCommand() *cobra.Command {
	o := NewOptions()
	cmd := &cobra.Command{
		Use:   string(tier.Extensions),
		Short: "CustomResourceDefinitions and custom resources, as one tier of Triptych; started by the supervisor",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return Run(o, cmd.Flags()) },
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

// Run serves the tier until the process is told to stop.
func Run(o *Options, flags *pflag.FlagSet) error {
	if err := o.Activate(); err != nil {
		return process.ConfigurationError{Err: err}
	}
	if err := o.Validate(); err != nil {
		return process.ConfigurationError{Err: err}
	}
	// The tiers' own calls would log the warnings meant for users.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	ctx, p, err := process.Start(tier.Extensions, o.WiringFile, flags)
	if err != nil {
		return err
	}
	return run(ctx, p, o)
}
