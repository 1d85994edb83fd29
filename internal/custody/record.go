package custody

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// record is what the main etcd says.
type record struct {
	// Holder is the name of the etcd that holds what extensions stores; empty is the
	// main one.
	Holder string `json:"holder"`
	// Known are the names of all etcds that ever held it or were to: what they have is
	// a copy, which a move may replace.
	Known []string `json:"known,omitempty"`
	// Fresh: the holder was chosen before there was anything, and may not know its name.
	Fresh bool `json:"fresh,omitempty"`

	revision int64 // of the key, 0 if there is none
}

func readRecord(ctx context.Context, main *clientv3.Client, k keys) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := main.Get(ctx, k.record())
	if err != nil {
		return record{}, fmt.Errorf("cannot read which etcd holds custom resources: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return record{}, nil
	}
	r := record{revision: answer.Kvs[0].ModRevision}
	if err := json.Unmarshal(answer.Kvs[0].Value, &r); err != nil {
		return record{}, fmt.Errorf("cannot read which etcd holds custom resources: %s: %w", k.record(), err)
	}
	return r, nil
}

// write puts r in place of what was read, provided that this is still there and that
// the other conditions hold.
func (r record) write(ctx context.Context, main *clientv3.Client, k keys, also ...clientv3.Cmp) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(k.record()), "=", r.revision)
	done, err := main.Txn(ctx).If(append(also, unchanged)...).Then(clientv3.OpPut(k.record(), string(data))).Commit()
	if err != nil {
		return fmt.Errorf("cannot write which etcd holds custom resources: %w", err)
	}
	if !done.Succeeded {
		return fmt.Errorf("cannot write which etcd holds custom resources: another process has written it, or the time was over")
	}
	return nil
}

func (r record) with(name string) record {
	if !slices.Contains(r.Known, name) {
		r.Known = append(slices.Clone(r.Known), name)
	}
	return r
}

// nameOf returns the name of an etcd of extensions' own, empty if it has none.
func nameOf(ctx context.Context, own *clientv3.Client, k keys) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := own.Get(ctx, k.name())
	if err != nil {
		return "", fmt.Errorf("cannot read the name of the etcd of custom resources: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return "", nil
	}
	return string(answer.Kvs[0].Value), nil
}

// baptize gives an etcd without a name this one.
func baptize(ctx context.Context, own *clientv3.Client, k keys, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	unnamed := clientv3.Compare(clientv3.CreateRevision(k.name()), "=", 0)
	done, err := own.Txn(ctx).If(unnamed).Then(clientv3.OpPut(k.name(), name)).Commit()
	if err != nil {
		return fmt.Errorf("cannot name the etcd of custom resources: %w", err)
	}
	if !done.Succeeded {
		return fmt.Errorf("cannot name the etcd of custom resources: another process has named it")
	}
	return nil
}
