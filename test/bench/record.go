package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
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
	length := s.window * time.Duration(len(workloads))
	var wait sync.WaitGroup
	profiles, errs := []string{}, make([]error, len(tier.Order))
	for i, name := range tier.Order {
		to := filepath.Join(dir, string(name)+".pprof")
		profiles = append(profiles, to)
		wait.Go(func() { errs[i] = profile(dir+"/ours", name, length, to) })
	}
	for _, w := range workloads {
		c, err := newCrowd(w, ours, recordedClients)
		if err != nil {
			return err
		}
		if _, err := c.window(s.window); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		c.leave()
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	merged, err := exec.Command("go", slices.Concat([]string{"tool", "pprof", "-proto"}, profiles)...).Output()
	if err != nil {
		return fmt.Errorf("cannot merge the profiles: %w", err)
	}
	fmt.Printf("%d bytes in %s, of %s of load\n", len(merged), file, length)
	return os.WriteFile(file, merged, 0o644)
}

// profile asks the named tier itself where it spends its time, as its neighbours may.
func profile(dataDir string, name tier.Name, length time.Duration, to string) error {
	w, err := wiring.Load(fmt.Sprintf("%s/run/%s-0.wiring.json", dataDir, name), name)
	if err != nil {
		return err
	}
	cfg, err := pki.ClientTLS(w.PKI.CA, w.PKI.Self.Cert, w.PKI.Self.Key, identity.ServerName(name))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(fmt.Sprintf("https://%s/debug/pprof/profile?seconds=%d", w.Own().Hop, int(length.Seconds())))
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
