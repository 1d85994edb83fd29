package authorization

import (
	"context"
	"fmt"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/client-go/informers"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer"
)

// ApplyTo sets the authorizer and rule resolver of c. Rights are read from the
// informers; ctx ends the reloading of a configuration file.
//
// The Node authorizer sees no nodes: what it judges by them are built-in
// resources, all of them core's, and each tier would hold every pod and volume.
func (o *Options) ApplyTo(ctx context.Context, c *genericapiserver.Config, informers informers.SharedInformerFactory) error {
	configuration, content, err := o.configuration()
	if err != nil {
		return fmt.Errorf("cannot read the authorization configuration: %w", err)
	}
	config := authorizer.Config{
		PolicyFile:                            o.PolicyFile,
		VersionedInformerFactory:              withoutNodes{informers},
		WebhookRetryBackoff:                   o.backoff,
		ReloadFile:                            o.ConfigFile,
		AuthorizationConfiguration:            configuration,
		InitialAuthorizationConfigurationData: content,
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
