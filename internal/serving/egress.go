package serving

import (
	"fmt"

	"k8s.io/apiserver/pkg/apis/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/egressselector"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// applyEgress has c dial through the proxies of the configuration file. Upstream
// does the same but for the errors: some of its do not name the file.
func applyEgress(o *genericoptions.EgressSelectorOptions, c *genericapiserver.Config) (err error) {
	if c.EgressSelector, err = egressSelector(o.ConfigFile); err != nil {
		return fmt.Errorf("--egress-selector-config-file=%s: %w", o.ConfigFile, err)
	}
	return nil
}

func egressSelector(file string) (*egressselector.EgressSelector, error) {
	config, err := egressselector.ReadEgressSelectorConfiguration(file)
	if err != nil || config == nil {
		return nil, err
	}
	if err := egressselector.ValidateEgressSelectorConfiguration(config).ToAggregate(); err != nil {
		return nil, err
	}
	for _, selection := range config.EgressSelections {
		if url := withoutTLS(selection.Connection); url != "" {
			return nil, fmt.Errorf("the proxy %s of %q is spoken to without TLS: give it an https:// URL and a tlsConfig, or a Unix socket", url, selection.Name)
		}
	}
	return egressselector.NewEgressSelector(config)
}

// withoutTLS returns the URL of a proxy that upstream takes for valid and then
// panics about.
func withoutTLS(c apiserver.Connection) string {
	if c.Transport != nil && c.Transport.TCP != nil && c.Transport.TCP.TLSConfig == nil {
		return c.Transport.TCP.URL
	}
	return ""
}
