package harness

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// Kubelet is a node agent for tests: TLS that demands core's kubelet client
// certificate, the streaming server of the real one, and commands that run on
// this machine, in no container. What it does not know, it answers with what it
// was sent.
type Kubelet struct {
	// Host and Port are where it listens.
	Host string
	Port int

	server   *http.Server
	mu       sync.Mutex
	seen     []KubeletRequest
	open     int
	log      []string
	logGrown chan struct{} // closed and replaced with every line
}

// KubeletRequest is a request as it arrived.
type KubeletRequest struct {
	// Line is the method and the raw target, "GET /exec/default/a/b?command=c".
	Line string
	// By is the common name of the client certificate.
	By     string
	Header http.Header
	// Body is that of a request to a path that the kubelet does not know.
	Body []byte
}

// StartKubelet starts one for the test. clientCA is what core's kubelet client
// certificate is verified against.
func StartKubelet(t testing.TB, clientCA *Pair) *Kubelet {
	t.Helper()
	return StartKubeletOn(t, "127.0.0.1", clientCA)
}

// StartKubeletOn is StartKubelet on another address of this machine.
func StartKubeletOn(t testing.TB, host string, clientCA *Pair) *Kubelet {
	t.Helper()
	k, err := LaunchKubelet(host, clientCA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// LaunchKubelet is StartKubeletOn outside of tests: who calls it closes it.
func LaunchKubelet(host string, clientCA *Pair) (*Kubelet, error) {
	ca, err := NewCA("kubelet-ca")
	if err != nil {
		return nil, err
	}
	serving, err := ca.Issue(Leaf{CommonName: "system:node:local", Hosts: []string{host}, Usage: serverUsage})
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(host, "0"), &tls.Config{
		Certificates: []tls.Certificate{serving.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clientCA.Pool(),
	})
	if err != nil {
		return nil, err
	}
	k := &Kubelet{Host: host, Port: listener.Addr().(*net.TCPAddr).Port, logGrown: make(chan struct{})}
	k.server = &http.Server{Handler: k}
	go k.server.Serve(listener)
	return k, nil
}

// Close ends all connections.
func (k *Kubelet) Close() error { return k.server.Close() }

// RunPod makes a node of that name, which is this kubelet, and a running pod on
// it, both by the same name, in the namespace default.
func (k *Kubelet) RunPod(t testing.TB, api *API, name string) {
	t.Helper()
	api.KubectlInput(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": %q}}`, name), "create", "-f", "-")
	api.Kubectl(t, "patch", "node", name, "--subresource=status", "--type=merge", "-p", fmt.Sprintf(
		`{"status": {"addresses": [{"type": "InternalIP", "address": %q}], "daemonEndpoints": {"kubeletEndpoint": {"Port": %d}}}}`, k.Host, k.Port))
	// No controller makes it here. Another pod may have needed it before.
	_, _ = api.TryKubectl(t, "", "create", "serviceaccount", "default")
	api.KubectlInput(t, fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q}, "spec": {"nodeName": %[1]q,
		"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "none", "stdin": true}]}}`, name), "create", "-f", "-")
	api.Kubectl(t, "patch", "pod", name, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"phase": "Running", "hostIP": %q, "podIP": %[1]q, "podIPs": [{"ip": %[1]q}],
		"containerStatuses": [{"name": "main", "image": "none", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}]}}`, k.Host))
}

// Requests returns what has arrived so far.
func (k *Kubelet) Requests() []KubeletRequest {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

// Open returns how many requests are being served.
func (k *Kubelet) Open() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open
}

// Log adds a line to the log of every container.
func (k *Kubelet) Log(line string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log = append(k.log, line)
	close(k.logGrown)
	k.logGrown = make(chan struct{})
}

// ServeHTTP implements http.Handler.
func (k *Kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	k.mu.Lock()
	k.open++
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.open--
	}()
	switch {
	case len(part) == 4 && part[0] == "exec":
		k.record(r, nil)
		k.stream(w, r, func(o *remotecommand.Options) {
			remotecommand.ServeExec(w, r, k, part[2], "", part[3], r.URL.Query()["command"], o,
				time.Hour, streamsWithin, remotecommand.SupportedStreamingProtocols)
		})
	case len(part) == 4 && part[0] == "attach":
		k.record(r, nil)
		k.stream(w, r, func(o *remotecommand.Options) {
			remotecommand.ServeAttach(w, r, k, part[2], "", part[3], o,
				time.Hour, streamsWithin, remotecommand.SupportedStreamingProtocols)
		})
	case len(part) == 3 && part[0] == "portForward":
		k.record(r, nil)
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, k, part[2], "", options, time.Hour, streamsWithin, portforward.SupportedProtocols)
	case len(part) == 4 && part[0] == "containerLogs":
		k.record(r, nil)
		k.serveLog(w, r)
	default:
		k.echo(w, r)
	}
}

// streamsWithin bounds how long a client may take to open its streams.
const streamsWithin = 30 * time.Second

func (k *Kubelet) record(r *http.Request, body []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = append(k.seen, KubeletRequest{
		Line: r.Method + " " + r.RequestURI, By: r.TLS.PeerCertificates[0].Subject.CommonName, Header: r.Header.Clone(), Body: body,
	})
}

func (k *Kubelet) stream(w http.ResponseWriter, r *http.Request, serve func(*remotecommand.Options)) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	serve(options)
}

// echo answers with the request's raw line and the length of its body. A path
// that ends in /redirect is redirected, one that ends in /404 is not found.
func (k *Kubelet) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	k.record(r, body)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case strings.HasSuffix(r.URL.Path, "/redirect"):
		http.Redirect(w, r, "/elsewhere?x=%2F", http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/404"):
		http.NotFound(w, r)
	default:
		w.Header().Set("X-Kubelet", "here")
		_ = json.NewEncoder(w).Encode(map[string]any{"line": r.Method + " " + r.RequestURI, "length": len(body)})
	}
}

func (k *Kubelet) serveLog(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	for sent := 0; ; {
		k.mu.Lock()
		lines, grown := k.log[sent:], k.logGrown
		k.mu.Unlock()
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		sent += len(lines)
		if r.URL.Query().Get("follow") != "true" {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-grown:
		case <-r.Context().Done():
			return
		}
	}
}

// ExecInContainer implements remotecommand.Executor. In a terminal it prints the
// sizes it is told instead, until its input ends.
func (k *Kubelet) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, errs io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if tty {
		for size := range resize {
			fmt.Fprintf(out, "%dx%d\n", size.Width, size.Height)
		}
		return nil
	}
	c := exec.CommandContext(ctx, cmd[0], cmd[1:]...)
	c.Stdin, c.WaitDelay = in, time.Second
	if out != nil {
		c.Stdout = out
	}
	if errs != nil {
		c.Stderr = errs
	}
	err := c.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it has ended well before its input did
	}
	return err
}

// AttachContainer implements remotecommand.Attacher: what is typed comes back.
func (k *Kubelet) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, _ io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize) error {
	fmt.Fprintln(out, "attached")
	if in == nil {
		return nil
	}
	_, err := io.Copy(out, in)
	return err
}

// PortForward implements portforward.PortForwarder: what is sent comes back,
// behind the number of the port.
func (k *Kubelet) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	fmt.Fprintf(stream, "port %d\n", port)
	_, err := io.Copy(stream, stream)
	return err
}
