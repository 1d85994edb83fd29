package authorization

import (
	"context"
	"fmt"
	"slices"

	authzconfig "k8s.io/apiserver/pkg/apis/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/informers"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// ApplyTo sets the authorizer and rule resolver of c. Rights are read from the
// informers; ctx ends the reloading of a configuration file, which upstream does
// only with the authorizers that it names.
//
// The Node authorizer is left out: it decides over built-in resources alone, all
// of them core's, and would make each tier watch every pod, node and volume.
func (o *Options) ApplyTo(ctx context.Context, c *genericapiserver.Config, informers informers.SharedInformerFactory) error {
	configuration, content, err := o.configuration()
	if err != nil {
		return fmt.Errorf("cannot read the authorization configuration: %w", err)
	}
	all := len(configuration.Authorizers)
	configuration.Authorizers = slices.DeleteFunc(configuration.Authorizers, func(a authzconfig.AuthorizerConfiguration) bool {
		return a.Type == authzconfig.AuthorizerType(modes.ModeNode)
	})
	if len(configuration.Authorizers) == 0 {
		configuration.Authorizers = []authzconfig.AuthorizerConfiguration{o.authorizer(modes.ModeAlwaysDeny)}
	}
	config := authorizer.Config{
		PolicyFile:                            o.PolicyFile,
		VersionedInformerFactory:              informers,
		WebhookRetryBackoff:                   o.backoff,
		AuthorizationConfiguration:            configuration,
		InitialAuthorizationConfigurationData: content,
	}
	if len(configuration.Authorizers) == all {
		config.ReloadFile = o.ConfigFile
	} else if o.ConfigFile != "" {
		klog.InfoS("This tier does not reload --authorization-config, because the file names the Node authorizer: restart it after a change")
	}
	if c.EgressSelector != nil {
		if config.CustomDial, err = c.EgressSelector.Lookup(egressselector.ControlPlane.AsNetworkContext()); err != nil {
			return err
		}
	}
	c.Authorization.Authorizer, c.RuleResolver, err = config.New(ctx, c.APIServerID)
	if err != nil {
		return fmt.Errorf("invalid authorization configuration: %w", err)
	}
	return nil
}
