package serving

import (
	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/component-base/cli/flag"
)

// shownFlags are what a process shows at /flagz: all but the one by which the
// supervisor, and no user, says where it stands. In direct mode clients see core's.
type shownFlags struct{ all *pflag.FlagSet }

// GetFlagz implements flagz.Reader.
func (f shownFlags) GetFlagz() map[string]string {
	flags := flagz.NamedFlagSetsReader{FlagSets: flag.NamedFlagSets{
		Order: []string{"flags"}, FlagSets: map[string]*pflag.FlagSet{"flags": f.all},
	}}.GetFlagz()
	delete(flags, "wiring")
	return flags
}
