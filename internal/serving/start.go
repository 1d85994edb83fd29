package serving

import (
	"context"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/compatibility"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// Start begins the life of a tier's process: gates and logging take effect, then
// validate judges the options, then the wiring is read. Nothing is served yet.
// Errors are configuration errors.
func (o *Options) Start(name tier.Name, flags *pflag.FlagSet, wiring string, validate func() error) (context.Context, *process.Process, error) {
	if err := o.Activate(); err != nil {
		return nil, nil, process.ConfigurationError{Err: err}
	}
	if err := validate(); err != nil {
		return nil, nil, process.ConfigurationError{Err: err}
	}
	// The tiers' own calls would log the warnings meant for users.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	emulated := o.ServerRun.ComponentGlobalsRegistry.EffectiveVersionFor(compatibility.DefaultKubeComponent).EmulationVersion()
	return process.Start(name, wiring, flags, emulated.String())
}
