package authentication

import (
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	authnconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubeapiserver/authorizer/modes"
)

// configCodecs decode an AuthenticationConfiguration strictly.
var configCodecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict)
}()

// ForbidAnonymousWith takes anonymous access away where authorization would let
// everybody do everything, as kube-apiserver does.
func (o *Options) ForbidAnonymousWith(authorizationModes []string) {
	if o.Anonymous && (len(authorizationModes) == 0 || slices.Contains(authorizationModes, modes.ModeAlwaysAllow)) {
		klog.Warning("--anonymous-auth is off because --authorization-mode allows everything to everybody")
		o.Anonymous = false
	}
}

// anonymous returns whether, and on which paths, requests may be anonymous. The
// file of --authentication-config has the say if it speaks of it; the rest of
// the file is about tokens, which is core's.
func (o *Options) anonymous() (authnconfig.AnonymousAuthConfig, error) {
	byFlag := authnconfig.AnonymousAuthConfig{Enabled: o.Anonymous}
	if o.ConfigFile == "" {
		return byFlag, nil
	}
	data, err := os.ReadFile(o.ConfigFile)
	if err != nil {
		return byFlag, fmt.Errorf("cannot read --authentication-config: %w", err)
	}
	object, err := runtime.Decode(configCodecs.UniversalDecoder(), data)
	if err != nil {
		return byFlag, fmt.Errorf("cannot read --authentication-config %s: %w", o.ConfigFile, err)
	}
	config, ok := object.(*authnconfig.AuthenticationConfiguration)
	switch {
	case !ok:
		return byFlag, fmt.Errorf("cannot read --authentication-config %s: it holds a %T", o.ConfigFile, object)
	case config.Anonymous == nil:
		return byFlag, nil
	case o.flags.Changed("anonymous-auth"):
		return byFlag, fmt.Errorf("--anonymous-auth and the anonymous field of --authentication-config exclude each other: give one or the other")
	}
	return *config.Anonymous, nil
}
