package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"triptych.dev/triptych/test/harness"
)

const (
	streamed  = 256 << 20
	execTurns = 3
	inDefault = "/api/v1/namespaces/default/"
)

// streams are the protocols that exec is spoken in.
var streams = []struct {
	name     string
	executor func(config *rest.Config, u *url.URL) (remotecommand.Executor, error)
}{
	{"SPDY", func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(config, "POST", u)
	}},
	{"WebSocket", func(config *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(config, "GET", u.String())
	}},
}

// compareExec prints how fast the output of a command in a pod comes. Node agents
// of the bench, one behind each server, run it.
func compareExec(ours, stock *server) error {
	pair := []*server{ours, stock}
	for _, s := range pair {
		kubelet, err := s.runPod()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer kubelet.Close()
	}
	fmt.Printf("\n| exec, %d MiB of output | MiB/s | CPU | stock: MiB/s | CPU |\n|---|---|---|---|---|\n", streamed>>20)
	for _, protocol := range streams {
		speeds, costs := map[*server][]float64{}, map[*server][]float64{}
		for range execTurns {
			for _, s := range pair {
				speed, cost, err := s.stream(protocol.executor)
				if err != nil {
					return fmt.Errorf("%s by %s: %w", s.name, protocol.name, err)
				}
				speeds[s], costs[s] = append(speeds[s], speed), append(costs[s], cost)
			}
			slices.Reverse(pair)
		}
		speed, cost := median(speeds[stock]), median(costs[stock])
		fmt.Printf("| %s | %.2f | %.2f | %.0f | %.2f s |\n", protocol.name, median(speeds[ours])/speed, median(costs[ours])/cost, speed, cost)
	}
	return nil
}

// runPod makes a node, which is the kubelet it returns, and a running pod there.
func (s *server) runPod() (*harness.Kubelet, error) {
	ca, err := harness.LoadPair(s.pki+"/ca.crt", s.pki+"/ca.key")
	if err != nil {
		return nil, err
	}
	k, err := harness.LaunchKubelet("127.0.0.1", ca)
	if err != nil {
		return nil, err
	}
	const merge = "application/merge-patch+json"
	for _, err := range []error{
		s.post("/api/v1/nodes", `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bench"}}`),
		s.write("PATCH", "/api/v1/nodes/bench/status", fmt.Sprintf(
			`{"status": {"addresses": [{"type": "InternalIP", "address": %q}], "daemonEndpoints": {"kubeletEndpoint": {"Port": %d}}}}`, k.Host, k.Port), merge),
		s.post(inDefault+"serviceaccounts", `{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}`),
		s.post(inDefault+"pods", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bench"}, "spec": {"nodeName": "bench",
"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "none"}]}}`),
		s.write("PATCH", inDefault+"pods/bench/status", `{"status": {"phase": "Running", "containerStatuses": [{"name": "main", "image": "none",
"imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]}}`, merge),
	} {
		if err != nil {
			return nil, errors.Join(err, k.Close())
		}
	}
	return k, nil
}

// stream runs a command that prints much, and returns MiB/s and seconds of CPU.
func (s *server) stream(executor func(*rest.Config, *url.URL) (remotecommand.Executor, error)) (speed, cpu float64, err error) {
	u, err := url.Parse(s.config.Host + inDefault + "pods/bench/exec?stdout=true&container=main&command=head&command=-c&command=" + fmt.Sprint(streamed) + "&command=/dev/zero")
	if err != nil {
		return 0, 0, err
	}
	e, err := executor(s.config, u)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	before, err := s.cpu()
	if err != nil {
		return 0, 0, err
	}
	out, began := &counted{}, time.Now()
	if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out}); err != nil {
		return 0, 0, err
	}
	elapsed := time.Since(began)
	if out.zeros != streamed {
		return 0, 0, fmt.Errorf("%d bytes of %d came as they were sent", out.zeros, streamed)
	}
	after, err := s.cpu()
	return streamed / (1 << 20) / elapsed.Seconds(), after - before, err
}

// counted counts the bytes that are what the command printed.
type counted struct{ zeros int }

// Write implements io.Writer.
func (c *counted) Write(b []byte) (int, error) {
	for _, x := range b {
		if x == 0 {
			c.zeros++
		}
	}
	return len(b), nil
}
