// Package admission runs, in the head and in extensions, those admission plugins
// of kube-apiserver that act on any resource. The others look only at built-in
// kinds, which core serves with all plugins; so each plugin runs once, in the
// tier that serves the object.
package admission

import (
	"errors"
	"slices"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingadmissionpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/kubernetes/plugin/pkg/admission/deny"
	"k8s.io/kubernetes/plugin/pkg/admission/gc"
	"k8s.io/kubernetes/plugin/pkg/admission/namespace/autoprovision"
	"k8s.io/kubernetes/plugin/pkg/admission/namespace/exists"
)

// Options are kube-apiserver's admission flags.
type Options struct {
	generic *genericoptions.AdmissionOptions
	// only are the plugins of the old flag, which names all that run.
	only []string
	// valid: the options have been looked at.
	valid bool
}

// NewOptions returns the plugins that act on any resource, in kube-apiserver's
// order, with its defaults.
func NewOptions() *Options {
	o := genericoptions.NewAdmissionOptions()
	resourcequota.Register(o.Plugins)
	gc.Register(o.Plugins)
	autoprovision.Register(o.Plugins)
	exists.Register(o.Plugins)
	deny.Register(o.Plugins)
	o.RecommendedPluginOrder = []string{
		autoprovision.PluginName,
		lifecycle.PluginName,
		exists.PluginName,
		gc.PluginName,
		mutatingadmissionpolicy.PluginName,
		mutatingwebhook.PluginName,
		validatingadmissionpolicy.PluginName,
		validatingwebhook.PluginName,
		resourcequota.PluginName,
		deny.PluginName,
	}
	o.DefaultOffPlugins.Insert(autoprovision.PluginName, exists.PluginName, gc.PluginName, deny.PluginName)
	return &Options{generic: o}
}

// AddFlags registers the flags.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.only, "admission-control", o.only, "The admission plugins that run, instead of the default ones.")
	if err := fs.MarkDeprecated("admission-control", "use --enable-admission-plugins or --disable-admission-plugins"); err != nil {
		panic(err) // the flag is the one above
	}
	o.generic.AddFlags(fs)
}

// Validate returns the first thing that is wrong. Names of plugins that only
// core has are not: core judges those. The flags stay what was given, which /flagz shows.
func (o *Options) Validate() error {
	if o.valid {
		return nil
	}
	here := *o.generic
	o.generic = &here
	if o.only != nil {
		if o.generic.EnablePlugins != nil || o.generic.DisablePlugins != nil {
			return errors.New("--admission-control excludes --enable-admission-plugins and --disable-admission-plugins")
		}
		o.generic.EnablePlugins = o.only
		o.generic.DisablePlugins = slices.DeleteFunc(slices.Clone(o.generic.RecommendedPluginOrder), func(name string) bool {
			return slices.Contains(o.only, name)
		})
	}
	o.generic.EnablePlugins = o.known(o.generic.EnablePlugins)
	o.generic.DisablePlugins = o.known(o.generic.DisablePlugins)
	for _, err := range o.generic.Validate() {
		return err
	}
	o.valid = true
	return nil
}

func (o *Options) known(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !slices.Contains(o.generic.RecommendedPluginOrder, name)
	})
}
