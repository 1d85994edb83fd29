package admission

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	kubeoptions "k8s.io/kubernetes/pkg/kubeapiserver/options"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics/prometheusextension.(*weightedHistogram).run"),
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

func parsed(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	o, fs := NewOptions(), pflag.NewFlagSet("tier", pflag.ContinueOnError)
	o.AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o, o.Validate()
}

func TestPluginsRunInTheOrderOfKubeAPIServerAndAreOnAndOffAsThere(t *testing.T) {
	ours, theirs := NewOptions().generic, kubeoptions.NewAdmissionOptions().GenericAdmission
	last := -1
	for _, name := range ours.RecommendedPluginOrder {
		at := slices.Index(theirs.RecommendedPluginOrder, name)
		if at <= last {
			t.Errorf("%s is at %d there, and %d comes before it here", name, at, last)
		}
		last = at
		if here, there := ours.DefaultOffPlugins.Has(name), theirs.DefaultOffPlugins.Has(name); here != there {
			t.Errorf("%s is off here: %v, there: %v", name, here, there)
		}
	}
	for _, name := range ours.Plugins.Registered() {
		if !slices.Contains(ours.RecommendedPluginOrder, name) {
			t.Errorf("%s has no place in the order", name)
		}
	}
}

func TestPluginsThatOnlyCoreHasAreCoresToJudge(t *testing.T) {
	o, err := parsed(t, "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement,Nonsense", "--disable-admission-plugins=ServiceAccount,ResourceQuota")
	if err != nil {
		t.Fatal(err)
	}
	if got := o.generic.EnablePlugins; !slices.Equal(got, []string{"OwnerReferencesPermissionEnforcement"}) {
		t.Errorf("enabled are %v", got)
	}
	if got := o.generic.DisablePlugins; !slices.Equal(got, []string{"ResourceQuota"}) {
		t.Errorf("disabled are %v", got)
	}
}

// What the head shows at /flagz is what it was given, also of plugins that it does not have.
func TestFlagsStayWhatWasGiven(t *testing.T) {
	given := map[string]string{"enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement", "disable-admission-plugins": "ServiceAccount,ResourceQuota"}
	o, fs := NewOptions(), pflag.NewFlagSet("tier", pflag.ContinueOnError)
	o.AddFlags(fs)
	for name, value := range given {
		if err := fs.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := o.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range given {
		if got := fs.Lookup(name).Value.String(); got != "["+value+"]" {
			t.Errorf("--%s is %s, want %s", name, got, value)
		}
	}
	if got := o.generic.EnablePlugins; !slices.Equal(got, []string{"OwnerReferencesPermissionEnforcement"}) {
		t.Errorf("enabled are %v", got)
	}
}

func TestAPluginThatIsEnabledAndDisabledIsAMistake(t *testing.T) {
	_, err := parsed(t, "--enable-admission-plugins=ResourceQuota", "--disable-admission-plugins=ResourceQuota")
	if err == nil || !strings.Contains(err.Error(), "ResourceQuota") {
		t.Errorf("got %v", err)
	}
}

func TestTheOldFlagNamesAllPluginsThatRun(t *testing.T) {
	o, err := parsed(t, "--admission-control=ResourceQuota,AlwaysDeny,LimitRanger")
	if err != nil {
		t.Fatal(err)
	}
	if got := o.generic.EnablePlugins; !slices.Equal(got, []string{"ResourceQuota", "AlwaysDeny"}) {
		t.Errorf("enabled are %v", got)
	}
	for _, name := range o.generic.RecommendedPluginOrder {
		if off, named := slices.Contains(o.generic.DisablePlugins, name), name == "ResourceQuota" || name == "AlwaysDeny"; off == named {
			t.Errorf("%s is off: %v", name, off)
		}
	}
	if _, err := parsed(t, "--admission-control=ResourceQuota", "--enable-admission-plugins=AlwaysDeny"); err == nil {
		t.Error("both flags at once are accepted")
	}
}
