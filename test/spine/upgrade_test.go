package spine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"triptych.dev/triptych/test/harness"
)

// kubectl runs it with an input to its end.
func kubectl(t *testing.T, api *harness.API, input string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Bin("kubectl"), append([]string{"--kubeconfig", api.Kubeconfig}, args...)...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader(input), &out, &errs, time.Second
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// kubectl speaks WebSocket or SPDY to the head, which passes either on to core.
func TestKubectlReachesIntoPodsLikeStock(t *testing.T) {
	for name, n := range nodes(t, "shell") {
		for _, websockets := range []string{"true", "false"} {
			t.Run(name+" websockets "+websockets, func(t *testing.T) {
				t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
				t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
				t.Run("exec", n.execs)
				t.Run("attach", n.attaches)
				t.Run("cp", n.copies)
				t.Run("logs", n.logs)
				t.Run("port-forward", n.forwardsPorts)
			})
		}
		t.Run(name+" resize", n.resizes)
		t.Run(name+" by core's certificate", func(t *testing.T) {
			for _, r := range n.Requests() {
				if r.By != "kube-apiserver-kubelet-client" {
					t.Errorf("%s comes by %q", r.Line, r.By)
				}
			}
		})
		harness.Eventually(t, soon, "nothing is left open at the kubelet of "+name, func() error {
			if open := n.Open(); open > 0 {
				return fmt.Errorf("%d requests are", open)
			}
			return nil
		})
	}
}

func (n node) execs(t *testing.T) {
	input := strings.Repeat("0123456789abcde\n", 20_000)
	if out, errs, code := kubectl(t, n.API, input, "exec", "-i", n.name, "--", "cat"); out != input || code != 0 {
		t.Errorf("%d bytes come back of %d, exit code %d, %s", len(out), len(input), code, errs)
	}
	out, errs, code := kubectl(t, n.API, "", "exec", n.name, "--", "sh", "-c", "echo to out; echo to err >&2; exit 7")
	if want := "to out\n"; out != want || !strings.HasPrefix(errs, "to err\n") || code != 7 {
		t.Errorf("%q, %q, exit code %d", out, errs, code)
	}
}

func (n node) attaches(t *testing.T) {
	if out, errs, code := kubectl(t, n.API, "typed\n", "attach", "-i", n.name); out != "attached\ntyped\n" || code != 0 {
		t.Errorf("%q, %q, exit code %d", out, errs, code)
	}
}

func (n node) copies(t *testing.T) {
	here, there := harness.TempDir(t), harness.TempDir(t)
	content := bytes.Repeat([]byte("some bytes, "), 100_000)
	harness.WriteFile(t, here+"/file", content, 0o600)
	for _, args := range [][]string{{here + "/file", n.name + ":" + there + "/copy"}, {n.name + ":" + there + "/copy", here + "/back"}} {
		if _, errs, code := kubectl(t, n.API, "", append([]string{"cp"}, args...)...); code != 0 {
			t.Fatalf("cp %v: %s", args, errs)
		}
	}
	if back := harness.Must(os.ReadFile(here + "/back"))(t); sha256.Sum256(back) != sha256.Sum256(content) {
		t.Errorf("%d bytes come back of %d", len(back), len(content))
	}
}

// logs arrive as they are written, and nobody writes on when the reader is gone.
func (n node) logs(t *testing.T) {
	n.Log("before " + t.Name())
	if out, errs, code := kubectl(t, n.API, "", "logs", n.name); !strings.HasSuffix(out, "before "+t.Name()+"\n") || code != 0 {
		t.Errorf("%q, %q, exit code %d", out, errs, code)
	}
	follow := n.start(t, "logs", "-f", n.name)
	said(t, follow, "before "+t.Name())
	n.Log("after " + t.Name())
	said(t, follow, "after "+t.Name())
	follow.End(soon)
	harness.Eventually(t, soon, "the kubelet writes no more", func() error {
		if open := n.Open(); open > 0 {
			return fmt.Errorf("%d requests are open", open)
		}
		return nil
	})
}

func said(t *testing.T, p *harness.Process, text string) {
	t.Helper()
	harness.Eventually(t, soon, p.Cmd.Path+" prints "+text, func() error { return p.Output.Contains(text) })
}

// start runs kubectl until the test ends.
func (n node) start(t *testing.T, args ...string) *harness.Process {
	t.Helper()
	p := harness.Must(harness.StartProcess(syscall.SIGKILL, nil, harness.Bin("kubectl"),
		append([]string{"--kubeconfig", n.Kubeconfig}, args...)...))(t)
	t.Cleanup(func() { p.End(soon) })
	return p
}

var forwarding = regexp.MustCompile(`Forwarding from (127\.0\.0\.1:\d+) -> 8080`)

func (n node) forwardsPorts(t *testing.T) {
	p := n.start(t, "port-forward", "--address=127.0.0.1", n.name, ":8080")
	said(t, p, "Forwarding from 127.0.0.1:")
	address := forwarding.FindStringSubmatch(p.Output.String())
	if address == nil {
		t.Fatal(p.Output)
	}
	for range 3 {
		c := harness.Must(net.Dial("tcp", address[1]))(t)
		_ = c.SetDeadline(time.Now().Add(soon))
		sent := bytes.Repeat([]byte("both ways, "), 50_000)
		go func() {
			_, _ = c.Write(sent)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if want := append([]byte("port 8080\n"), sent...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d come back, %v", len(got), len(want), err)
		}
		c.Close()
	}
}

// sizes is a terminal that changes twice.
type sizes chan remotecommand.TerminalSize

func (s sizes) Next() *remotecommand.TerminalSize {
	size, more := <-s
	if !more {
		return nil
	}
	return &size
}

func (n node) resizes(t *testing.T) {
	config := n.Config(t)
	u := harness.Must(url.Parse(config.Host + "/api/v1/namespaces/default/pods/" + n.name +
		"/exec?command=none&stdin=true&stdout=true&tty=true"))(t)
	for protocol, executor := range map[string]remotecommand.Executor{
		"SPDY":      harness.Must(remotecommand.NewSPDYExecutor(config, http.MethodPost, u))(t),
		"WebSocket": harness.Must(remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String()))(t),
	} {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			terminal := make(sizes, 2)
			input, _ := io.Pipe()
			// Each of them waits for the next one, and the stream for all of them.
			out := &lineCount{wanted: 2, done: sync.OnceFunc(func() { close(terminal); input.Close(); cancel() })}
			terminal <- remotecommand.TerminalSize{Width: 80, Height: 24}
			terminal <- remotecommand.TerminalSize{Width: 132, Height: 43}
			defer out.done()
			_ = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: out, Tty: true, TerminalSizeQueue: terminal})
			if got := out.said.String(); got != "80x24\n132x43\n" {
				t.Errorf("the container sees %q", got)
			}
		})
	}
}

// lineCount ends a stream once it has said that many lines. It is a Writer and
// no more: what a buffer reads for itself it would not count.
type lineCount struct {
	said   bytes.Buffer
	wanted int
	done   func()
}

func (l *lineCount) Write(p []byte) (int, error) {
	n, err := l.said.Write(p)
	if bytes.Count(l.said.Bytes(), []byte("\n")) >= l.wanted {
		l.done()
	}
	return n, err
}

// A connection that is handed over carries what the backend said, and nothing
// of the filters in front of it.
func TestSwitchedProtocolsLikeStock(t *testing.T) {
	all := nodes(t, "switching")
	spdy := "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
	websocket := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, c := range []struct{ target, headers string }{
		{"POST exec?command=cat&stdin=true&stdout=true", spdy + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"},
		{"GET exec?command=cat&stdin=true&stdout=true", websocket + "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n"},
		{"POST attach?stdin=true&stdout=true", spdy + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"},
		{"POST portforward", spdy + "X-Stream-Protocol-Version: portforward.k8s.io\r\n"},
		{"GET portforward?ports=8080", websocket + "Sec-WebSocket-Protocol: SPDY/3.1+portforward.k8s.io\r\n"},
	} {
		method, rest, _ := strings.Cut(c.target, " ")
		t.Run(strings.ReplaceAll(c.target, "/", "|"), func(t *testing.T) {
			got := map[string]string{}
			for side, n := range all {
				got[side] = handshake(t, n.API, method+" /api/v1/namespaces/default/pods/switching/"+rest+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"+c.headers+"\r\n")
			}
			if diff := cmp.Diff(got["stock"], got["ours"]); diff != "" || !strings.HasPrefix(got["ours"], "101") {
				t.Errorf("(- stock, + ours)\n%s\n%s", diff, got["ours"])
			}
		})
	}
}

// handshake returns the head of the answer to what is said over HTTP/1.1.
func handshake(t *testing.T, api *harness.API, said string) string {
	t.Helper()
	c := dialHTTP1(t, api)
	if _, err := io.WriteString(c, said); err != nil {
		t.Fatal(err)
	}
	resp := harness.Must(http.ReadResponse(bufio.NewReader(c), nil))(t)
	resp.Header.Del("Date")
	return fmt.Sprint(resp.StatusCode, resp.Header)
}

// What is no upgrade is answered as stock answers it: by core before it asks the
// kubelet, or with what the kubelet says.
func TestRefusedUpgradesLikeStock(t *testing.T) {
	all := nodes(t, "refusing")
	for _, n := range all {
		// Nobody listens on port 1.
		n.KubectlInput(t, `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "away"}}`, "create", "-f", "-")
		n.Kubectl(t, "patch", "node", "away", "--subresource=status", "--type=merge", "-p",
			`{"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}`)
		n.KubectlInput(t, `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unreachable"}, "spec": {"nodeName": "away",
			"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "none"}]}}`, "create", "-f", "-")
	}
	spdy := []string{"Connection", "Upgrade", "Upgrade", "SPDY/3.1", "X-Stream-Protocol-Version", "v4.channel.k8s.io"}
	websocket := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Version", "13",
		"Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-Websocket-Protocol", "v5.channel.k8s.io"}
	for _, c := range []struct {
		name, method, path string
		headers            []string
		as                 func(t *testing.T, api *harness.API) *rest.Config
	}{
		{"no such pod", "POST", "/api/v1/namespaces/default/pods/nobody/exec?command=a&stdout=true", spdy, nil},
		{"no such pod", "GET", "/api/v1/namespaces/default/pods/nobody/attach?stdout=true", websocket, nil},
		{"no such container", "POST", "/api/v1/namespaces/default/pods/refusing/exec?container=b&command=a&stdout=true", spdy, nil},
		{"no stream wanted", "POST", "/api/v1/namespaces/default/pods/refusing/exec?command=a", spdy, nil},
		{"no upgrade", "POST", "/api/v1/namespaces/default/pods/refusing/exec?command=a&stdout=true", nil, nil},
		{"no upgrade", "GET", "/api/v1/namespaces/default/pods/refusing/portforward", nil, nil},
		{"forbidden", "POST", "/api/v1/namespaces/default/pods/refusing/exec?command=a&stdout=true", spdy, anonymous},
		{"kubelet away", "POST", "/api/v1/namespaces/default/pods/unreachable/exec?command=a&stdout=true", spdy, nil},
		{"kubelet away", "GET", "/api/v1/namespaces/default/pods/unreachable/exec?command=a&stdout=true", websocket, nil},
		{"kubelet away", "GET", "/api/v1/namespaces/default/pods/unreachable/log", nil, nil},
		{"kubelet away", "GET", "/api/v1/nodes/away/proxy/pods", nil, nil},
		{"said by the kubelet", "GET", "/api/v1/nodes/refusing/proxy/404", nil, nil},
		{"method", "PUT", "/api/v1/namespaces/default/pods/refusing/exec?command=a&stdout=true", spdy, nil},
	} {
		t.Run(c.name+" "+c.method+" "+strconv.Itoa(len(c.headers)), func(t *testing.T) {
			got := map[string]string{}
			for side, n := range all {
				config := http1(n.Config(t))
				if c.as != nil {
					config = http1(c.as(t, n.API))
				}
				answer := harness.Must(harness.Send(t.Context(), config, c.method, c.path, "", c.headers...))(t)
				got[side] = fmt.Sprintf("%d %s %s", answer.Code, answer.Header.Get("Content-Type"), answer.Body)
			}
			if diff := cmp.Diff(got["stock"], got["ours"]); diff != "" {
				t.Errorf("(- stock, + ours)\n%s", diff)
			}
			// The translator of WebSockets accepts, and refuses inside.
			if !strings.Contains(got["ours"], `"status":"Failure"`) && !strings.HasPrefix(got["ours"], "4") {
				t.Errorf("it is not refused: %s", got["ours"])
			}
		})
	}
}

// http1 makes config speak HTTP/1.1: upgrades need it.
func http1(config *rest.Config) *rest.Config {
	config.NextProtos = []string{"http/1.1"}
	return config
}

func anonymous(t *testing.T, api *harness.API) *rest.Config { return api.Anonymous(t) }
