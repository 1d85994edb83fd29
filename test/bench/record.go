package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/internal/tier"
)

// recordedClients is the scene by which profiles are made: a server that is busy.
var recordedClients = scene{clients: 16}

// record has our server do every workload for one window, and writes where its tiers
// spend their time meanwhile into one file, for builds that are guided by it.
func record(dir, file string, s settings) (err error) {
	ours, err := startOurs(dir+"/ours", s.flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.close()) }()
	if err := ours.prepare(); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(ours.config)
	if err != nil {
		return err
	}
	var profiles []string
	for n, w := range workloads {
		if !s.only.MatchString(w.name) {
			continue
		}
		c, err := newCrowd(w, ours, recordedClients)
		if err != nil {
			return err
		}
		var wait sync.WaitGroup
		errs := make([]error, len(tier.Order))
		for i, name := range tier.Order {
			to := filepath.Join(dir, fmt.Sprintf("%d-%s.pprof", n, name))
			profiles = append(profiles, to)
			wait.Go(func() { errs[i] = profile(client, ours.config.Host, name, s.window, to) })
		}
		_, err = c.window(s.window)
		wait.Wait()
		if err := errors.Join(append(errs, err)...); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		c.leave()
	}
	if s.only.MatchString("watch") {
		more, err := recordWatches(dir, ours, client, s.window)
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		profiles = append(profiles, more...)
	}
	merged, err := exec.Command("go", slices.Concat([]string{"tool", "pprof", "-proto"}, profiles)...).Output()
	if err != nil {
		return fmt.Errorf("cannot merge the profiles: %w", err)
	}
	fmt.Printf("%d bytes in %s, of %d profiles of %s each\n", len(merged), file, len(profiles), s.window)
	return os.WriteFile(file, merged, 0o644)
}

// recordWatches writes an object that many watch until length is over, and returns the files with the profiles of
// each tier.
func recordWatches(dir string, ours *server, client *http.Client, length time.Duration) ([]string, error) {
	files := make([]string, len(tier.Order))
	errs := make([]error, len(tier.Order))
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	begin := func() {
		for i, name := range tier.Order {
			files[i] = filepath.Join(dir, fmt.Sprintf("watch-%s.pprof", name))
			wait.Go(func() { errs[i] = profile(client, ours.config.Host, name, length, files[i]); cancel() })
		}
	}
	_, err := ours.fanOut(ctx, watchers, 1<<20, begin)
	wait.Wait()
	if ctx.Err() != nil {
		err = nil // it was told to end
	}
	return files, errors.Join(append(errs, err)...)
}

// profile asks the head where the named tier spends its time, as an administrator may. length is rounded up to
// seconds.
func profile(client *http.Client, host string, name tier.Name, length time.Duration, to string) error {
	answer, err := client.Get(fmt.Sprintf("%s/debug/tiers/%s/debug/pprof/profile?seconds=%.0f", host, name, math.Ceil(length.Seconds())))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return errors.Join(err, fmt.Errorf("the profile of %s is %s", name, answer.Status))
	}
	return os.WriteFile(to, data, 0o600)
}
