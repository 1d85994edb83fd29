package custody

import (
	"context"
	"fmt"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"triptych.dev/triptych/internal/keyspace"
)

// span is the keys from the first to before the second.
type span struct{ from, to string }

func spanOf(prefix string) span { return span{prefix, clientv3.GetPrefixRangeEnd(prefix)} }

// page is how many keys are read at once: objects may have 1.5 MB each.
const page = 100

// groups returns the spans of everything that has a group in its key and is not the
// head's: the most that can be extensions'. It looks where extensions may.
func (k keys) groups(ctx context.Context, c *clientv3.Client, revision int64) ([]span, error) {
	var all []span
	for _, gap := range k.gaps() {
		groups, err := k.groupsIn(ctx, c, revision, gap)
		if err != nil {
			return nil, fmt.Errorf("cannot read which groups there are: %w", err)
		}
		all = append(all, groups...)
	}
	return all, nil
}

func (k keys) groupsIn(ctx context.Context, c *clientv3.Client, revision int64, gap keyspace.Span) ([]span, error) {
	var all []span
	for at := gap.From; at < gap.To; {
		answer, err := c.Get(ctx, at, clientv3.WithRange(gap.To), clientv3.WithLimit(1), clientv3.WithKeysOnly(), clientv3.WithRev(revision))
		if err != nil || len(answer.Kvs) == 0 {
			return all, err
		}
		group, _, deeper := strings.Cut(strings.TrimPrefix(string(answer.Kvs[0].Key), k.prefix), "/")
		if !deeper {
			at = string(answer.Kvs[0].Key) + "\x00"
			continue
		}
		whole := spanOf(k.prefix + group + "/")
		if at = whole.to; strings.Contains(group, ".") {
			all = append(all, whole)
		}
	}
	return all, nil
}

// without returns what is left of whole.
func without(whole, hole span) []span {
	if hole.to <= whole.from || whole.to <= hole.from {
		return []span{whole}
	}
	var left []span
	if whole.from < hole.from {
		left = append(left, span{whole.from, hole.from})
	}
	if hole.to < whole.to {
		left = append(left, span{hole.to, whole.to})
	}
	return left
}

// empty tells whether there is nothing that may be extensions'.
func (k keys) empty(ctx context.Context, c *clientv3.Client) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	groups, err := k.groups(ctx, c, 0)
	if err != nil {
		return false, err
	}
	for _, s := range groups {
		if answer, err := c.Get(ctx, s.from, clientv3.WithRange(s.to), clientv3.WithCountOnly()); err != nil {
			return false, fmt.Errorf("cannot read what there is: %w", err)
		} else if answer.Count > 0 {
			return false, nil
		}
	}
	return true, nil
}

// defined returns the spans of the custom resources whose CRDs there are. The name
// of a CRD says it; what is in it may be encrypted.
func (k keys) defined(ctx context.Context, c *clientv3.Client, revision int64) ([]span, error) {
	var all []span
	crds := cursor{client: c, revision: revision, span: spanOf(k.definitions()), options: []clientv3.OpOption{clientv3.WithKeysOnly()}}
	for {
		kv, err := crds.next(ctx)
		if err != nil || kv == nil {
			return all, err
		}
		plural, group, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), k.definitions()), ".")
		all = append(all, spanOf(k.prefix+group+"/"+plural+"/"))
	}
}

// owned returns the spans that are extensions' for certain, by what either etcd says,
// and those that may be, by what the source has: objects whose CRD is gone, or
// somebody else's.
func (k keys) owned(ctx context.Context, source *clientv3.Client, revision int64, target *clientv3.Client) (certain, perhaps []span, err error) {
	certain = []span{spanOf(k.definitions())}
	for client, at := range map[*clientv3.Client]int64{source: revision, target: 0} {
		more, err := k.defined(ctx, client, at)
		if err != nil {
			return nil, nil, err
		}
		certain = append(certain, more...)
	}
	slices.SortFunc(certain, func(a, b span) int { return strings.Compare(a.from, b.from) })
	certain = slices.Compact(certain)
	groups, err := k.groups(ctx, source, revision)
	if err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		left := []span{group}
		for _, hole := range certain {
			var next []span
			for _, s := range left {
				next = append(next, without(s, hole)...)
			}
			left = next
		}
		perhaps = append(perhaps, left...)
	}
	return certain, perhaps, nil
}
