package supervisor

import (
	"context"
	"fmt"
	"slices"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// Drain implements control.Supervisor: others are sent what the replica would be, it answers what it has, and is
// gone. The last of a tier stays.
func (v *Supervisor) Drain(ctx context.Context, name string) error {
	release, err := v.reshaping(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := v.refuseTier(name); err != nil {
		return err
	}
	now, _ := v.chain.Snapshot()
	for _, of := range v.setup.here {
		places := v.setup.sockets.of(of)
		for _, p := range places {
			if replica(of, p.index) != name {
				continue
			}
			others := slices.ContainsFunc(places, func(other *place) bool {
				return other != p && now.Children[replica(of, other.index)].State != lifecycle.Held
			})
			if len(places) == 1 || !others && now.Children[name].State != lifecycle.Held {
				return control.RefusedError{Err: fmt.Errorf(
					"cannot drain %s: it is the only one of %s here that runs: add another first by supervisor scale %[2]s=2, or replace it by supervisor restart %[2]s", name, of)}
			}
			v.note("drain %s", name)
			if err := v.shrink(ctx, of, p); err != nil {
				return fmt.Errorf("cannot drain %s: %w", name, err)
			}
			return v.backToFirst(ctx, of)
		}
	}
	return control.RefusedError{Err: fmt.Errorf("cannot drain %s: it is no replica of this supervisor: see supervisor status", name)}
}
