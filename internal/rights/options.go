package rights

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Options are the flags of a tier that is told of rights by core.
type Options struct {
	// MaxAge bounds how old what is known of rights may be; zero is no bound.
	MaxAge time.Duration
}

// NewOptions returns the defaults. A minute outlasts the restart of a core that
// hangs, which is 15 s and what it takes to start, and of one that crashes some
// times in a row. Nobody who revokes a right waits longer.
func NewOptions() *Options { return &Options{MaxAge: time.Minute} }

// AddFlags registers the flag.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.MaxAge, "rights-max-age", o.MaxAge,
		"How long users are judged by what is known of roles and bindings while core cannot be heard; then the answer is 503. 0 is for ever.")
}

// minAge leaves room for some questions to core.
const minAge = time.Second

// Validate returns what is wrong with the flag.
func (o *Options) Validate() error {
	if o.MaxAge < 0 || o.MaxAge > 0 && o.MaxAge < minAge {
		return fmt.Errorf("--rights-max-age=%v: want %v or more, or 0 for no bound", o.MaxAge, minAge)
	}
	return nil
}
