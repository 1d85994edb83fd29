package spine

import (
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"triptych.dev/triptych/internal/sshaccess"
	"triptych.dev/triptych/test/harness"
)

func TestMistakenSSH(t *testing.T) {
	files := harness.TempDir(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block := harness.Must(ssh.MarshalPrivateKey(private, ""))(t)
	locked := harness.Must(ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret")))(t)
	hostKey := harness.Must(ssh.NewPublicKey(public))(t)
	for name, content := range map[string][]byte{
		"locked": pem.EncodeToMemory(locked), "garbage": []byte("node ssh-ed25519 nonsense\n"),
		"known":  []byte(knownhosts.Line([]string{"127.0.0.1"}, hostKey) + "\n"),
		"egress": []byte("apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections: [{name: cluster, connection: {proxyProtocol: Direct}}]\n"),
	} {
		harness.WriteFile(t, files+"/"+name, content, 0o600)
	}
	harness.WriteFile(t, files+"/open", pem.EncodeToMemory(block), 0o644)
	known := "--ssh-known-hosts=" + files + "/known"
	checkMistakes(t, map[string]mistake{
		"no host keys":       {args: []string{"--ssh-user=ops"}, want: []string{"--ssh-known-hosts"}},
		"no user":            {args: []string{known}, want: []string{"--ssh-user"}},
		"no such key":        {args: []string{"--ssh-user=ops", known, "--ssh-keyfile=/nowhere/key"}, want: []string{"--ssh-keyfile", "/nowhere/key"}},
		"an open key":        {args: []string{"--ssh-user=ops", known, "--ssh-keyfile=" + files + "/open"}, want: []string{"--ssh-keyfile", "chmod 600"}},
		"a passphrase":       {args: []string{"--ssh-user=ops", known, "--ssh-keyfile=" + files + "/locked"}, want: []string{"--ssh-keyfile", "passphrase"}},
		"no key in it":       {args: []string{"--ssh-user=ops", known, "--ssh-keyfile=" + files + "/garbage"}, want: []string{"--ssh-keyfile", "no private key"}},
		"garbled host keys":  {args: []string{"--ssh-user=ops", "--ssh-known-hosts=" + files + "/garbage"}, want: []string{"--ssh-known-hosts", ":1:"}},
		"an unknown bastion": {args: []string{"--ssh-user=ops", known, "--ssh-bastion=ops@bastion.invalid"}, want: []string{"--ssh-bastion", "ssh-keyscan bastion.invalid"}},
		"no bastion":         {args: []string{"--ssh-user=ops", known, "--ssh-bastion=@"}, want: []string{"--ssh-bastion", "USER@HOST:PORT"}},
		"no port":            {args: []string{"--ssh-user=ops", known, "--ssh-port=ssh"}, want: []string{"--ssh-port"}},
		"two ways to the nodes": {args: []string{"--ssh-user=ops", known, "--egress-selector-config-file=" + files + "/egress"},
			want: []string{"--ssh-user", "--egress-selector-config-file"}},
	})
}

// The nodes behind a bastion are reached from nowhere else, here in direct mode. Who the bastion is, and
// whether it takes the key, is asked before anything starts.
func TestNodesAreReachedThroughABastion(t *testing.T) {
	dir := harness.TempDir(t)
	authorized, errs, code := harness.Command(t.Context(), harness.Bin("supervisor"), "ssh-key", "--data-dir", dir)
	if code != 0 {
		t.Fatal(errs)
	}
	e := &enclave{Enclave: harness.StartEnclave(t, 1, strings.TrimSpace(authorized)), known: harness.TempDir(t) + "/known_hosts"}
	bastion := "--ssh-bastion=root@" + e.Node(0)
	args := []string{"--ssh-user=root", "--ssh-known-hosts=" + e.known, bastion}

	t.Run("a wrong host key", func(t *testing.T) {
		anothers := strangersKey(t)
		harness.WriteFile(t, e.known, []byte(knownhosts.Line([]string{e.Node(0)}, anothers)+"\n"), 0o644)
		mistake{args: args, want: []string{bastion, "somebody may be in between"}}.check(t, harness.TempDir(t))
	})
	far := "198.19.9.9"
	_, hostKey, _ := strings.Cut(e.KnownHost(e.Node(0)), " ")
	harness.WriteFile(t, e.known, []byte(e.KnownHost(e.Node(0))+far+" "+hostKey), 0o644)
	t.Run("another key", func(t *testing.T) {
		own := harness.TempDir(t) + "/key"
		if _, err := sshaccess.EnsureKey(own); err != nil {
			t.Fatal(err)
		}
		line := harness.Must(sshaccess.AuthorizedKey(own))(t)
		mistake{args: append([]string{"--ssh-keyfile=" + own}, args...), want: []string{bastion, "authorized_keys", line}}.check(t, harness.TempDir(t))
	})

	e.KillSSHD(t)
	e.cluster = harness.Run(t, harness.Options{Dir: dir, Args: append([]string{"--without-aggregator"}, args...)})
	if err := e.cluster.Output.Contains("warning: --ssh-bastion=root@" + e.Node(0)); err != nil {
		t.Error(err)
	}
	e.StartSSHD(t)
	e.kubelet = harness.StartKubelet(t, e.cluster.CA(t))
	e.Relay(t, fmt.Sprintf("%s:%d", far, e.kubelet.Port), fmt.Sprintf("127.0.0.1:%d", e.kubelet.Port))
	e.kubelet.Host = far
	n := node{API: &e.cluster.API, Kubelet: e.kubelet, name: "farther"}
	n.RunPod(t, n.API, n.name)
	harness.Eventually(t, soon, "exec works", func() error { return n.answers(t) })
	if got := e.cluster.Get(t, "/livez/ssh-tunnels"); got.Code != http.StatusOK {
		t.Error(got)
	}
}
