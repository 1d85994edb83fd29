package custody

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Misplaced tells that an etcd was given that does not hold the custom resources:
// whoever served from it would say 404 for what exists.
type Misplaced struct{ what string }

func (e *Misplaced) Error() string { return e.what }

// errMoving: whoever wants to serve has to wait.
var errMoving = errors.New("custom resources are being moved to another etcd")

// awaitPause is the time between two attempts of Await.
var awaitPause = 250 * time.Millisecond

// Keeper knows the etcds of one control plane.
type Keeper struct {
	// Main is core's etcd. Own is that of extensions alone, nil if there is none.
	Main, Own *clientv3.Client
	// Prefix is --etcd-prefix.
	Prefix string
}

// Await returns when extensions may serve from Own, or from Main without one. It
// waits for etcds that do not answer, and while a move is under way. The error is a
// *Misplaced or that of ctx; tell is called with each new reason to wait. An Own
// that is empty becomes the holder if Main has nothing of extensions' either.
func (k Keeper) Await(ctx context.Context, tell func(error)) error {
	tick := time.NewTicker(awaitPause)
	defer tick.Stop()
	told := ""
	for {
		err := k.check(ctx)
		if err == nil || errors.As(err, new(*Misplaced)) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if told != err.Error() {
			told = err.Error()
			tell(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Follow returns when extensions may no longer serve: a move has begun, or another
// etcd is the holder. It returns nil when ctx ends. It is for after Await.
func (k Keeper) Follow(ctx context.Context) error {
	all := under(k.Prefix)
	for ctx.Err() == nil {
		// Watched from before the look, so that nothing falls between.
		watched, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		changes := k.Main.Watch(watched, all.news(), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		for range changes {
			if err := k.check(ctx); err != nil && (errors.Is(err, errMoving) || errors.As(err, new(*Misplaced))) {
				cancel()
				return err
			}
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(awaitPause):
		}
	}
	return nil
}

func (k Keeper) check(ctx context.Context) error {
	all := under(k.Prefix)
	moving, err := exists(ctx, k.Main, all.moving())
	if err != nil {
		return err
	}
	if moving {
		return errMoving
	}
	r, err := readRecord(ctx, k.Main, all)
	switch {
	case err != nil:
		return err
	case k.Own == nil && r.Holder == "":
		return nil
	case k.Own == nil:
		return &Misplaced{"custom resources are in an etcd of their own: give its --extensions-etcd-servers, or move them back before with supervisor etcd move-extensions --to-main"}
	case r.Holder == "":
		return k.claim(ctx, all, r)
	}
	return k.recognize(ctx, all, r)
}

// claim makes an empty Own the holder.
func (k Keeper) claim(ctx context.Context, all keys, r record) error {
	if empty, err := all.empty(ctx, k.Main); err != nil {
		return err
	} else if !empty {
		return &Misplaced{"custom resources are in the etcd of --etcd-servers: start without --extensions-etcd-servers, and move them with supervisor etcd move-extensions"}
	}
	name, err := k.vacant(ctx, all, r)
	if err != nil {
		return err
	}
	if name == "" {
		name = uuid.NewString()
	}
	r.Holder, r.Fresh = name, true
	if err := r.with(name).write(ctx, k.Main, all); err != nil {
		return err
	}
	return k.check(ctx)
}

// vacant returns the name of Own, empty if it has none, or a *Misplaced if there is
// something of others in it.
func (k Keeper) vacant(ctx context.Context, all keys, r record) (string, error) {
	name, err := nameOf(ctx, k.Own, all)
	if err != nil {
		return "", err
	}
	empty, err := all.empty(ctx, k.Own)
	if err != nil {
		return "", err
	}
	if !empty || name != "" && !slices.Contains(r.Known, name) {
		return "", &Misplaced{"the etcd of --extensions-etcd-servers holds custom resources of which that of --etcd-servers knows nothing: give an empty one, or the --etcd-servers that belong to it"}
	}
	return name, nil
}

// recognize tells whether Own is the holder.
func (k Keeper) recognize(ctx context.Context, all keys, r record) error {
	name, err := nameOf(ctx, k.Own, all)
	if err != nil {
		return err
	}
	if name == "" && r.Fresh {
		if _, err := k.vacant(ctx, all, r); err != nil {
			return err
		}
		if err := baptize(ctx, k.Own, all, r.Holder); err != nil {
			return err
		}
		name = r.Holder
	}
	if name != r.Holder {
		return &Misplaced{fmt.Sprintf("the etcd of --extensions-etcd-servers is not the one that holds the custom resources: give that, whose key %s is %s", all.name(), r.Holder)}
	}
	if r.Fresh {
		r.Fresh = false
		return r.write(ctx, k.Main, all)
	}
	return nil
}

func exists(ctx context.Context, c *clientv3.Client, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.Get(ctx, key, clientv3.WithCountOnly())
	if err != nil {
		return false, fmt.Errorf("cannot read from etcd: %w", err)
	}
	return answer.Count > 0, nil
}
