package backup

import (
	"encoding/json"
	"fmt"
	"time"

	"triptych.dev/triptych/internal/etcd"
)

// Format is the version of the layout that this program writes. It is raised when an
// older one could not use what is written.
const Format = 1

// Names of the files in a snapshot.
const (
	manifestName = "snapshot.json"
	sumsName     = "SHA256SUMS"
	// MainName is the data of etcd, OwnName that of the etcd of custom resources.
	MainName = "etcd.db"
	OwnName  = "extensions-etcd.db"
	// PKIFolder holds what DIR/pki does, ConfigFolder the settings.
	PKIFolder    = "pki"
	ConfigFolder = "config"
)

// Manifest says what is in a snapshot.
type Manifest struct {
	Format int `json:"format"`
	// Taken is when etcd was asked.
	Taken time.Time `json:"taken"`
	// Version is that of the supervisor that took it.
	Version string `json:"version"`
	// Host is the name of the machine.
	Host string        `json:"host"`
	Etcd etcd.Database `json:"etcd"`
	// ExtensionsEtcd is nil where custom resources are with all the rest.
	ExtensionsEtcd *etcd.Database `json:"extensionsEtcd,omitempty"`
}

func parseManifest(data []byte) (m Manifest, err error) {
	if err := json.Unmarshal(data, &m); err != nil || m.Format < 1 {
		return m, &DamagedError{"its " + manifestName + " cannot be read"}
	}
	if m.Format > Format {
		return m, fmt.Errorf("its format %d is newer than %d, the newest this version knows: use the version of triptych that wrote it, or a newer one", m.Format, Format)
	}
	return m, nil
}

// DamagedError tells that a file is no snapshot, or not the one that was written.
type DamagedError struct{ what string }

func (e *DamagedError) Error() string { return e.what }
