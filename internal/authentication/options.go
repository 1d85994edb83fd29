// Package authentication is how the head knows its clients: by certificate and
// front proxy itself, by token through core, else as anonymous. The order is
// kube-apiserver's (k8s.io/kubernetes/pkg/kubeapiserver/authenticator).
package authentication

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// Options are those of kube-apiserver's authentication flags that the head acts
// on; what concerns tokens is core's.
type Options struct {
	ClientCert    genericoptions.ClientCertAuthenticationOptions
	RequestHeader genericoptions.RequestHeaderAuthenticationOptions
	Anonymous     bool
	ConfigFile    string

	flags *pflag.FlagSet
}

// NewOptions returns kube-apiserver's defaults.
func NewOptions() *Options { return &Options{Anonymous: true} }

// AddFlags registers the flags.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	o.flags = fs
	o.ClientCert.AddFlags(fs)
	o.RequestHeader.AddFlags(fs)
	fs.BoolVar(&o.Anonymous, "anonymous-auth", o.Anonymous,
		"Treat requests that no authenticator rejects as system:anonymous in system:unauthenticated.")
	fs.StringVar(&o.ConfigFile, "authentication-config", o.ConfigFile,
		"AuthenticationConfiguration file; of it, the head acts on what it says of anonymous requests.")
}

// Validate returns everything that is wrong with the options.
func (o *Options) Validate() error {
	_, err := o.anonymous()
	return utilerrors.NewAggregate(append(o.RequestHeader.Validate(), err))
}

// ApplyTo sets up c to ask clients for certificates and to forget the headers of
// front proxies, and returns who a request is from. tokens judges bearer tokens.
func (o *Options) ApplyTo(c *genericapiserver.Config, tokens authenticator.Token) (authenticator.Request, error) {
	var authenticators []authenticator.Request
	front, err := o.RequestHeader.ToAuthenticationRequestHeaderConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot trust a front proxy: %w", err)
	}
	if front != nil {
		authenticators = append(authenticators, headerrequest.NewDynamicVerifyOptionsSecure(
			front.CAContentProvider.VerifyOptions, front.AllowedClientNames,
			front.UsernameHeaders, front.UIDHeaders, front.GroupHeaders, front.ExtraHeaderPrefixes))
		if err := c.Authentication.ApplyClientCert(front.CAContentProvider, c.SecureServing); err != nil {
			return nil, err
		}
		c.Authentication.RequestHeaderConfig = front
	}
	ca, err := o.ClientCert.GetClientCAContentProvider()
	if err != nil {
		return nil, fmt.Errorf("cannot load --client-ca-file: %w", err)
	}
	if ca != nil {
		byCertificate := newCertificates(ca.VerifyOptions)
		names := func() []string { return nil }
		if front != nil {
			names = front.UsernameHeaders.Value
		}
		// First of all, because it is most requests and asks nobody else: one that is no
		// front proxy's would get no further than to here.
		authenticators = slices.Insert(authenticators, 0, authenticator.Request(unlessProxied(names, byCertificate.known)))
		authenticators = append(authenticators, byCertificate)
		if err := c.Authentication.ApplyClientCert(ca, c.SecureServing); err != nil {
			return nil, err
		}
	}
	authenticators = append(authenticators, bearertoken.New(tokens), websocket.NewProtocolAuthenticator(tokens))
	known := group.NewAuthenticatedGroupAdder(union.New(authenticators...))
	nobody, err := o.anonymous()
	if err != nil || !nobody.Enabled {
		return known, err
	}
	// A bad token is an error, and whoever shows one is not served as anonymous.
	return union.NewFailOnError(known, anonymous.NewAuthenticator(nobody.Conditions)), nil
}
