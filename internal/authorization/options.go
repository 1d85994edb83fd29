// Package authorization authorizes, in the head and in extensions, what these
// tiers serve themselves, with the authorizers the user configured and in
// process, as kube-apiserver does. Core uses upstream's own options; importing
// those (k8s.io/kubernetes/pkg/kubeapiserver/options) here would bring a
// hundred packages, where the authorizers bring 27.
package authorization

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	authzconfig "k8s.io/apiserver/pkg/apis/apiserver"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// Options are kube-apiserver's --authorization-* flags.
type Options struct {
	Modes                       []string
	PolicyFile                  string
	WebhookConfigFile           string
	WebhookVersion              string
	WebhookCacheAuthorizedTTL   time.Duration
	WebhookCacheUnauthorizedTTL time.Duration
	ConfigFile                  string

	backoff *wait.Backoff
	flags   *pflag.FlagSet
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options {
	return &Options{
		WebhookVersion:              "v1beta1",
		WebhookCacheAuthorizedTTL:   5 * time.Minute,
		WebhookCacheUnauthorizedTTL: 30 * time.Second,
		backoff:                     genericoptions.DefaultAuthWebhookRetryBackoff(),
	}
}

// legacyFlags exclude --authorization-config.
var legacyFlags = []string{
	"authorization-mode", "authorization-webhook-config-file", "authorization-webhook-version",
	"authorization-webhook-cache-authorized-ttl", "authorization-webhook-cache-unauthorized-ttl",
}

// AddFlags registers the flags.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.flags = fs
	fs.StringSliceVar(&o.Modes, legacyFlags[0], o.Modes, "Authorizers in order, comma-separated: "+strings.Join(modes.AuthorizationModeChoices, ",")+".")
	fs.StringVar(&o.PolicyFile, "authorization-policy-file", o.PolicyFile, "ABAC policy, one JSON object a line; for mode ABAC.")
	fs.StringVar(&o.WebhookConfigFile, legacyFlags[1], o.WebhookConfigFile, "Kubeconfig of the authorization webhook; for mode Webhook.")
	fs.StringVar(&o.WebhookVersion, legacyFlags[2], o.WebhookVersion, "Version of SubjectAccessReview that the webhook speaks.")
	fs.DurationVar(&o.WebhookCacheAuthorizedTTL, legacyFlags[3], o.WebhookCacheAuthorizedTTL, "How long the webhook's yes is remembered.")
	fs.DurationVar(&o.WebhookCacheUnauthorizedTTL, legacyFlags[4], o.WebhookCacheUnauthorizedTTL, "How long the webhook's no is remembered.")
	fs.StringVar(&o.ConfigFile, "authorization-config", o.ConfigFile, "AuthorizationConfiguration file; excludes --authorization-mode and --authorization-webhook-*.")
}

// Validate returns the first thing that is wrong.
func (o *Options) Validate() error {
	if o.ConfigFile != "" {
		if slices.ContainsFunc(legacyFlags, o.flags.Changed) {
			return fmt.Errorf("--authorization-config excludes --authorization-mode and --authorization-webhook-*: give one or the other")
		}
		_, _, err := authorizer.LoadAndValidateFile(o.ConfigFile, authorizationcel.NewDefaultCompiler(), nil)
		return err
	}
	given := sets.New(o.Modes...)
	if given.Len() != len(o.Modes) {
		return fmt.Errorf("--authorization-mode names a mode more than once: %v", o.Modes)
	}
	for _, mode := range o.Modes {
		if !modes.IsValidAuthorizationMode(mode) {
			return fmt.Errorf("unknown --authorization-mode %q: want some of %v", mode, modes.AuthorizationModeChoices)
		}
	}
	return o.validateFiles(given)
}

func (o *Options) validateFiles(given sets.Set[string]) error {
	if given.Has(modes.ModeABAC) != (o.PolicyFile != "") {
		return fmt.Errorf("--authorization-mode=ABAC and --authorization-policy-file go together")
	}
	if given.Has(modes.ModeWebhook) != (o.WebhookConfigFile != "") {
		return fmt.Errorf("--authorization-mode=Webhook and --authorization-webhook-config-file go together")
	}
	return nil
}

// NamesRBAC tells whether roles and bindings count. No reload of a file changes
// that: upstream neither adds RBAC nor takes it away.
func (o *Options) NamesRBAC() bool {
	c, _, err := o.configuration()
	return err == nil && slices.ContainsFunc(c.Authorizers, func(a authzconfig.AuthorizerConfiguration) bool {
		return a.Type == authzconfig.AuthorizerType(modes.ModeRBAC)
	})
}

// configuration returns the authorizers as a configuration file would name them,
// and that file's content if there is one.
func (o *Options) configuration() (*authzconfig.AuthorizationConfiguration, string, error) {
	if o.ConfigFile != "" {
		return authorizer.LoadAndValidateFile(o.ConfigFile, authorizationcel.NewDefaultCompiler(), nil)
	}
	given := o.Modes
	if len(given) == 0 {
		given = []string{modes.ModeAlwaysAllow}
	}
	c := &authzconfig.AuthorizationConfiguration{}
	for _, mode := range given {
		c.Authorizers = append(c.Authorizers, o.authorizer(mode))
	}
	return c, "", nil
}

func (o *Options) authorizer(mode string) authzconfig.AuthorizerConfiguration {
	if mode != modes.ModeWebhook {
		return authzconfig.AuthorizerConfiguration{Type: authzconfig.AuthorizerType(mode), Name: authorizer.GetNameForAuthorizerMode(mode)}
	}
	return authzconfig.AuthorizerConfiguration{
		Type: authzconfig.TypeWebhook,
		Name: "default", // upstream's name for the webhook of the flags; metrics carry it
		Webhook: &authzconfig.WebhookConfiguration{
			AuthorizedTTL:                            metav1.Duration{Duration: o.WebhookCacheAuthorizedTTL},
			UnauthorizedTTL:                          metav1.Duration{Duration: o.WebhookCacheUnauthorizedTTL},
			CacheAuthorizedRequests:                  true,
			CacheUnauthorizedRequests:                true,
			Timeout:                                  metav1.Duration{Duration: 30 * time.Second},
			FailurePolicy:                            authzconfig.FailurePolicyNoOpinion,
			SubjectAccessReviewVersion:               o.WebhookVersion,
			MatchConditionSubjectAccessReviewVersion: "v1",
			ConnectionInfo: authzconfig.WebhookConnectionInfo{
				Type:           authzconfig.AuthorizationWebhookConnectionInfoTypeKubeConfigFile,
				KubeConfigFile: &o.WebhookConfigFile,
			},
		},
	}
}
