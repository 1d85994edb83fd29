package core

import (
	"crypto/sha256"
	"encoding/base32"
	"os"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

// serverID names one replica among the API servers of the cluster: its lease in
// kube-system is called so. The first of a machine is called what kube-apiserver
// would be, which is named after the host alone; the others would take turns with
// it on one lease.
func serverID(first, replica string) (string, error) {
	if replica == string(tier.Core)+"-0" {
		return first, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(host + "/" + replica))
	return "apiserver-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])), nil
}
