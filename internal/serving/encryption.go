package serving

import (
	"fmt"
	"strings"

	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// ExplainStorage returns the error of applying o with the file of the encryption
// configuration, if it is about that: upstream tells only what is wrong in it.
func ExplainStorage(o *genericoptions.EtcdOptions, err error) error {
	file := o.EncryptionProviderConfigFilepath
	if err == nil || file == "" || !strings.HasPrefix(err.Error(), "error while ") || strings.Contains(err.Error(), file) {
		return err
	}
	return fmt.Errorf("--encryption-provider-config=%s: %w", file, err)
}
