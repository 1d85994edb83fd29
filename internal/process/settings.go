package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/pflag"
)

// sharedFlags must have the same value in every tier: tiers that disagree on
// one of them would store, decode or audit the same object differently.
var sharedFlags = []string{
	"emulation-forward-compatible", "enable-priority-and-fairness",
	"etcd-prefix", "feature-gates", "min-compatibility-version",
	"request-timeout", "runtime-config", "runtime-config-emulation-forward-compatible",
	"ssh-user", "storage-backend",
}

// sharedFiles are flags whose file must have the same content in every tier. The
// encryption configuration is not one: no two tiers store the same resource, and a
// tier that died after its file was changed has to come back.
var sharedFiles = []string{"audit-policy-file", "tracing-config-file"}

// Settings returns the hash of each shared setting that fs knows, by flag, and
// one of all of them. Reading a file of theirs can fail.
func Settings(fs *pflag.FlagSet) (byFlag map[string]string, all string, err error) {
	byFlag = map[string]string{}
	for _, name := range sharedFlags {
		if f := fs.Lookup(name); f != nil {
			byFlag[name] = hash(f.Value.String())
		}
	}
	for _, name := range sharedFiles {
		f := fs.Lookup(name)
		if f == nil {
			continue
		}
		content := []byte{}
		if path := f.Value.String(); path != "" {
			if content, err = os.ReadFile(path); err != nil {
				return nil, "", fmt.Errorf("cannot read the file of --%s: %w", name, err)
			}
		}
		byFlag[name] = hash(string(content))
	}
	return byFlag, hash(joined(byFlag)), nil
}

func joined(byFlag map[string]string) string {
	var s string
	for _, name := range slices.Sorted(maps.Keys(byFlag)) {
		s += name + "=" + byFlag[name] + "\n"
	}
	return s
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}
