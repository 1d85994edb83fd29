package supervisor

import (
	"context"
	"errors"
	"fmt"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/etcd"
)

// fullLine says what a full etcd means and what to do. The data directory is left
// out: whoever reads this has just named it.
func fullLine(size string) string {
	return fmt.Sprintf("full, the database takes %s: reads and deletes work, other writes are refused; delete what is not needed "+
		"and run `supervisor etcd compact`, or start with a larger --etcd-quota-backend-bytes", size)
}

// CompactEtcd implements control.Supervisor.
func (v *Supervisor) CompactEtcd(ctx context.Context) (control.Compaction, error) {
	if !v.setup.embedded() {
		return control.Compaction{}, errors.New("the supervisor runs no etcd: compact yours by its own means")
	}
	client, err := etcd.Dial(v.setup.etcdAddress, v.setup.etcdTLS())
	if err != nil {
		return control.Compaction{}, err
	}
	defer client.Close()
	before, after, err := client.Compact(ctx, v.setup.dir.Etcd())
	if err != nil {
		return control.Compaction{}, err
	}
	v.print.Say("etcd: compacted, the database took %s and takes %s", before, after)
	return control.Compaction{Before: before.String(), After: after.String(), Full: after.Full}, nil
}
