package supervisor

import (
	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/security"
)

// Security implements control.Supervisor.
func (v *Supervisor) Security() []control.SecurityRow {
	now, _ := v.chain.Snapshot()
	rows := []control.SecurityRow{}
	for _, name := range now.Names {
		child := now.Children[name]
		rows = append(rows, security.Inspect(security.Subject{
			Name: child.Tier, Replica: name, PID: child.PID, Head: v.setup.head, Dir: v.setup.dir,
			Handed: v.setup.apart.folders[child.Tier].Files(), NoRoom: v.setup.forker.NoRoom(),
		})...)
	}
	return rows
}
