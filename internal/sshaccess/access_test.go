package sshaccess

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func newKey(t *testing.T) (ed25519.PrivateKey, ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, key
}

func file(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKeyIsMadeOnceAndIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ssh.key")
	if made, err := EnsureKey(path); !made || err != nil {
		t.Fatalf("made: %t, %v", made, err)
	}
	line, err := AuthorizedKey(path)
	if err != nil || !strings.HasPrefix(line, "ssh-ed25519 ") {
		t.Fatalf("%q, %v", line, err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, path + ".pub": 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if public, err := os.ReadFile(path + ".pub"); err != nil || string(public) != line+"\n" {
		t.Errorf("%q, %v", public, err)
	}
	if made, err := EnsureKey(path); made || err != nil {
		t.Errorf("made again: %t, %v", made, err)
	}
	if again, _ := AuthorizedKey(path); again != line {
		t.Error("the key has changed")
	}
	if restricted, err := Restricted(path); err != nil || restricted != `restrict,port-forwarding,command="false" `+line {
		t.Errorf("%q, %v", restricted, err)
	}
}

func TestMistakesOfSSHAreToldWithTheFlag(t *testing.T) {
	private, host := newKey(t)
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	open := string(pem.EncodeToMemory(block))
	good := Access{
		User: "ops", KeyFile: file(t, open, 0o600), Port: 22, Bastion: "jump@bastion.example:2222",
		KnownHostsFile: file(t, knownhosts.Line([]string{"bastion.example:2222"}, host)+"\n", 0o644),
	}
	if err := good.Check(); err != nil {
		t.Fatalf("what is right is refused: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*Access)
		says   []string
	}{
		"no user":              {func(a *Access) { a.User = "" }, []string{"--ssh-user"}},
		"no name of a user":    {func(a *Access) { a.User = "ops@node" }, []string{"--ssh-user", "ops@node"}},
		"no key":               {func(a *Access) { a.KeyFile = "" }, []string{"--ssh-keyfile"}},
		"no such key":          {func(a *Access) { a.KeyFile = "/nowhere/key" }, []string{"--ssh-keyfile", "/nowhere/key"}},
		"an open key":          {func(a *Access) { a.KeyFile = file(t, open, 0o640) }, []string{"--ssh-keyfile", "chmod 600", "0640"}},
		"a passphrase":         {func(a *Access) { a.KeyFile = file(t, string(pem.EncodeToMemory(locked)), 0o600) }, []string{"--ssh-keyfile", "passphrase"}},
		"a public key":         {func(a *Access) { a.KeyFile = file(t, string(ssh.MarshalAuthorizedKey(host)), 0o600) }, []string{"--ssh-keyfile", "no private key"}},
		"no host keys":         {func(a *Access) { a.KnownHostsFile = "" }, []string{"--ssh-known-hosts"}},
		"no such host keys":    {func(a *Access) { a.KnownHostsFile = "/nowhere/known" }, []string{"--ssh-known-hosts", "/nowhere/known"}},
		"garbled host keys":    {func(a *Access) { a.KnownHostsFile = file(t, "node ssh-ed25519 !!!\n", 0o644) }, []string{"--ssh-known-hosts", ":1:"}},
		"an unknown bastion":   {func(a *Access) { a.Bastion = "other.example" }, []string{"--ssh-bastion", "other.example", "ssh-keyscan"}},
		"no port of a bastion": {func(a *Access) { a.Bastion = "jump@bastion.example:x" }, []string{"--ssh-bastion"}},
		"no host of a bastion": {func(a *Access) { a.Bastion = "jump@" }, []string{"--ssh-bastion"}},
		"no port":              {func(a *Access) { a.Port = 0 }, []string{"--ssh-port=0"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := good
			c.change(&a)
			err := a.Check()
			for _, says := range c.says {
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%v does not say %q", err, says)
				}
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %v", err)
			}
		})
	}
}

func TestOnlyKnownHostKeysAreAskedForAndBelieved(t *testing.T) {
	_, host := newKey(t)
	_, other := newKey(t)
	authorityKey, authority := newKey(t)
	path := file(t, knownhosts.Line([]string{"10.0.0.1"}, host)+"\n@cert-authority *.example "+
		string(ssh.MarshalAuthorizedKey(authority)), 0o644)
	known, err := readKnownHosts(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := known.algorithms("10.0.0.1:22"); err != nil || !slices.Equal(got, []string{ssh.KeyAlgoED25519}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := known.algorithms("n1.example:22"); err != nil || !slices.Equal(got, certificates) {
		t.Errorf("%v, %v", got, err)
	}
	for _, stranger := range []string{"10.0.0.1:2222", "10.0.0.2:22"} {
		if got, err := known.algorithms(stranger); err == nil {
			t.Errorf("%s: %v", stranger, got)
		}
	}
	if err := known.verify("10.0.0.1:22", nowhere, host); err != nil {
		t.Error(err)
	}
	if err := known.verify("10.0.0.1:22", nowhere, other); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("another key: %v", err)
	}
	signer, err := ssh.NewSignerFromKey(authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	signed := &ssh.Certificate{Key: other, CertType: ssh.HostCert, ValidPrincipals: []string{"n1.example"}, ValidBefore: ssh.CertTimeInfinity}
	if err := signed.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	if err := known.verify("n1.example:22", nowhere, signed); err != nil {
		t.Error(err)
	}
	if err := known.verify("n2.example:22", nowhere, signed); err == nil {
		t.Error("the certificate of another host is believed")
	}
	if err := known.verify("n1.example:22", nowhere, other); err == nil {
		t.Error("a key that no authority signed is believed")
	}
}
