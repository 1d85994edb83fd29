package custody

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// DeleteLeftover deletes from left, which is Main or an Own of before, what a move has
// copied from it: the CRDs that it has and their custom resources. What belongs to none of
// them stays.
func (k Keeper) DeleteLeftover(ctx context.Context, left *clientv3.Client) (deleted int64, err error) {
	all := under(k.Prefix)
	r, err := readRecord(ctx, k.Main, all)
	if err != nil {
		return 0, err
	}
	name := ""
	if left != k.Main {
		if name, err = nameOf(ctx, left, all); err != nil {
			return 0, err
		}
	}
	if name == r.Holder {
		return 0, errors.New("the custom resources are there: nothing is left over")
	}
	objects, err := all.defined(ctx, left, 0)
	if err != nil {
		return 0, err
	}
	// CRDs last: by them the rest is found.
	for _, s := range append(objects, spanOf(all.definitions())) {
		done, err := left.Delete(ctx, s.from, clientv3.WithRange(s.to))
		if err != nil {
			return deleted, fmt.Errorf("cannot delete what is left: %w", err)
		}
		deleted += done.Deleted
	}
	return deleted, nil
}
