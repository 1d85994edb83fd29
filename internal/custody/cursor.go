package custody

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cursor reads a span key by key, all of it at one revision.
type cursor struct {
	client *clientv3.Client
	span   span
	// revision is where it reads; 0 becomes that of the first answer.
	revision int64
	options  []clientv3.OpOption

	kvs  []*mvccpb.KeyValue
	done bool
}

// next returns nil at the end.
func (c *cursor) next(ctx context.Context) (*mvccpb.KeyValue, error) {
	if len(c.kvs) == 0 && !c.done {
		options := append([]clientv3.OpOption{clientv3.WithRange(c.span.to), clientv3.WithLimit(page), clientv3.WithRev(c.revision)}, c.options...)
		answer, err := c.client.Get(ctx, c.span.from, options...)
		if err != nil {
			return nil, fmt.Errorf("cannot read from %s on: %w", c.span.from, err)
		}
		if c.revision == 0 {
			c.revision = answer.Header.Revision
		}
		c.kvs, c.done = answer.Kvs, !answer.More
	}
	if len(c.kvs) == 0 {
		return nil, nil
	}
	kv := c.kvs[0]
	c.kvs, c.span.from = c.kvs[1:], string(kv.Key)+"\x00"
	return kv, nil
}
