package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/test/harness"
)

// revocations of each kind on each side. Those of one round run side by side:
// nearly all of the time is spent waiting for a cache.
const revocations = 3

// reportRevocations prints how long a token is accepted after what it stands for
// was deleted.
func (p *pair) reportRevocations() error {
	sides := []struct {
		kubeconfig, key string
	}{{p.ours.Kubeconfig, p.ours.Path("pki", "sa.key")}, {p.stock.Kubeconfig, p.stock.Dir + "/pki/sa.key"}}
	var times [2][]time.Duration
	for round := range revocations {
		group, ctx := errgroup.WithContext(context.Background())
		var took [2][]time.Duration
		for i, side := range sides {
			group.Go(func() (err error) {
				took[i], err = revoke(ctx, side.kubeconfig, side.key, round)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		for i := range times {
			times[i] = append(times[i], took[i]...)
		}
	}
	ours, stock := times[0], times[1]
	fmt.Printf("\n| a token is accepted after its revocation, %d times | ours | stock | ratio |\n|---|---|---|---|\n", len(ours))
	for _, row := range []struct {
		name string
		of   func([]time.Duration) time.Duration
	}{{"p50", median}, {"max", func(all []time.Duration) time.Duration { return slices.Max(all) }}} {
		a, b := row.of(ours), row.of(stock)
		fmt.Printf("| %s | %.2f s | %.2f s | %.2f |\n", row.name, a.Seconds(), b.Seconds(), a.Seconds()/b.Seconds())
	}
	fmt.Println("\nEach was used just before it was revoked, which is the worst case.")
	return nil
}

// revoke takes back one token of every kind, all at once.
func revoke(ctx context.Context, kubeconfig, key string, round int) ([]time.Duration, error) {
	admin, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	admin.QPS = -1
	source, err := harness.NewTokens(admin, key)
	if err != nil {
		return nil, err
	}
	all, err := source.Revocables(ctx, round)
	if err != nil {
		return nil, err
	}
	took := make([]time.Duration, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, r := range all {
		group.Go(func() (err error) {
			took[i], err = r.TimeToDie(ctx, rest.CopyConfig(admin))
			return err
		})
	}
	return took, group.Wait()
}
