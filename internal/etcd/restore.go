package etcd

import (
	"fmt"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
)

// revisionBump is what a restore adds to the revision, as etcd recommends: far more than
// anybody can have written since the snapshot was taken.
const revisionBump = 1_000_000_000

// Member is who an etcd that is restored alone will be.
type Member struct {
	// Name is the member's, PeerURL where it says that other members find it.
	Name, PeerURL string
}

// Embedded is the etcd that the supervisor runs.
var Embedded = Member{Name: defaultName, PeerURL: peerURL.String()}

// Restoration says how a data directory is made of a snapshot.
type Restoration struct {
	// Snapshot is the path of the file. Dir is the folder to make, which must not be there or
	// be empty.
	Snapshot, Dir string
	Member        Member
	// Forward has the revision be higher than any that clients may know, and all before it
	// be compacted: who watches from a resource version of after the snapshot is told that it is
	// too old, and does not wait for what has happened already.
	Forward bool
	// Unhashed: the file was not sent by etcd and has no hash of etcd's.
	Unhashed bool
}

// Restore makes the data directory of an etcd of one member.
func Restore(r Restoration) error {
	c := snapshot.RestoreConfig{
		SnapshotPath: r.Snapshot, OutputDataDir: r.Dir, SkipHashCheck: r.Unhashed,
		Name: r.Member.Name, PeerURLs: []string{r.Member.PeerURL}, InitialCluster: r.Member.Name + "=" + r.Member.PeerURL,
		InitialClusterToken: "triptych",
	}
	if r.Forward {
		c.RevisionBump, c.MarkCompacted = revisionBump, true
	}
	if err := snapshot.NewV3(zap.NewNop()).Restore(c); err != nil {
		return fmt.Errorf("cannot restore the data of etcd: %w", err)
	}
	return nil
}
