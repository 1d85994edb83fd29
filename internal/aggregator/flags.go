package aggregator

import (
	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/flagz"

	"triptych.dev/triptych/internal/delegate"
)

// flags are what kube-apiserver would show at /flagz: core has all of its flags,
// with its defaults; what the head was given counts more, because clients meet it.
// What each tier was given is below /debug/tiers.
type flags struct {
	own   flagz.Reader
	given *pflag.FlagSet
	core  *delegate.Delegate
}

// GetFlagz implements flagz.Reader. Nobody is asked: core said it when it started.
func (f flags) GetFlagz() map[string]string {
	all := f.own.GetFlagz()
	state, _ := f.core.Client.State()
	for name, value := range state.Description.GetFlags() {
		if !f.given.Changed(name) {
			all[name] = value
		}
	}
	return all
}
