package spine

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"triptych.dev/triptych/test/harness"
)

// planted are secrets, by what they are: texts that occur nowhere else.
type planted map[string]string

// found names those that a text holds.
func (p planted) found(text string) (all []string) {
	for what, secret := range p {
		if strings.Contains(text, secret) {
			all = append(all, what)
		}
	}
	return all
}

// key plants a private key: a line from the middle of its PEM file, and what is in the line.
func (p planted) key(t *testing.T, path string) {
	t.Helper()
	content := harness.Must(os.ReadFile(path))(t)
	block, _ := pem.Decode(content)
	if block == nil || len(block.Bytes) < 64 {
		t.Fatalf("%s is no key", path)
	}
	name := filepath.Base(path)
	p[name] = lines(string(content))[1]
	p[name+", decoded"] = string(block.Bytes[16:64])
	p[name+", in base64 once more"] = base64.StdEncoding.EncodeToString(content)[64:128]
}

// token plants a token, and what a kubeconfig file or a Secret makes of it.
func (p planted) token(what, text string) string {
	p[what], p[what+", in base64"] = text, strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(text)), "=")
	return text
}

// kubeconfigWith is a file by which a webhook is asked that nobody serves, with a token.
func kubeconfigWith(t *testing.T, token string) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["hook"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:1"}
	config.AuthInfos["api"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["hook"] = &clientcmdapi.Context{Cluster: "hook", AuthInfo: "api"}
	config.CurrentContext = "hook"
	path := harness.TempDir(t) + "/hook.kubeconfig"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

const encryptionHead = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n"

// Keys and tokens are in the files that hold them, for their owner alone, and nowhere else: no command line, environment,
// log or command shows them, with requests that succeed and that fail.
func TestKeysAndTokensAreNowhereElse(t *testing.T) {
	t.Parallel()
	secrets, files := planted{}, harness.TempDir(t)
	encryption := secrets.token("the encryption key", "planted-encryption-key-32-bytes!")
	static := secrets.token("a static token", "planted-static-token")
	harness.WriteFile(t, files+"/encryption.yaml", []byte(encryptionHead+
		"  - aescbc: {keys: [{name: one, secret: "+base64.StdEncoding.EncodeToString([]byte(encryption))+"}]}\n"), 0o600)
	harness.WriteFile(t, files+"/tokens.csv", []byte(static+",jane,7\n"), 0o600)
	host := harness.Must(harness.NewCA("host"))(t)
	hostKey := harness.Must(ssh.NewPublicKey(host.Cert.PublicKey))(t)
	harness.WriteFile(t, files+"/known", []byte(knownhosts.Line([]string{"127.0.0.1"}, hostKey)+"\n"), 0o600)
	args := []string{
		"--encryption-provider-config=" + files + "/encryption.yaml", "--token-auth-file=" + files + "/tokens.csv",
		"--audit-webhook-config-file=" + kubeconfigWith(t, secrets.token("the audit webhook's token", "planted-audit-token")),
		"--audit-policy-file=" + files + "/audit.yaml", "--audit-webhook-initial-backoff=100ms",
		"--authentication-token-webhook-config-file=" + kubeconfigWith(t, secrets.token("the token webhook's token", "planted-review-token")),
		"--authorization-mode=Node,RBAC,Webhook",
		"--authorization-webhook-config-file=" + kubeconfigWith(t, secrets.token("the authorization webhook's token", "planted-authorizer-token")),
		"--enable-bootstrap-token-auth", "--ssh-user=ops", "--ssh-known-hosts=" + files + "/known",
	}
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	c := harness.Run(t, harness.Options{Args: append(args, "--v="+verbosity)})
	for _, pattern := range []string{"pki/*.key", "pki/*/*.key"} {
		for _, path := range harness.Must(filepath.Glob(c.Path(pattern)))(t) {
			secrets.key(t, path)
		}
	}
	useSecrets(t, c, secrets, static)

	for _, p := range harness.ProcsOf(c.Dir) {
		for _, name := range []string{"cmdline", "environ"} {
			nowhere(t, secrets, fmt.Sprintf("%s of %s", name, p), string(harness.Must(os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID, name)))(t)))
		}
		if limits := string(harness.Must(os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID)))(t)); !noDumps.MatchString(limits) {
			t.Errorf("%s may dump its memory:\n%s", p, limits)
		}
	}
	for _, command := range []string{"status", "status -o json", "status -o yaml", "status -o wide", "security", "security -o json", "logs", "version", "etcd roles", "ssh-key"} {
		stdout, stderr, _ := c.Supervisor(t.Context(), strings.Fields(command)...)
		nowhere(t, secrets, "supervisor "+command, stdout+stderr)
	}
	for _, path := range []string{"/metrics", "/flagz", "/statusz", "/configz", "/readyz?verbose", "/debug/tiers/core/metrics"} {
		nowhere(t, secrets, path, string(c.Get(t, path).Body))
	}
	c.Stop(t)
	nowhere(t, secrets, "what the supervisor prints", c.Output.String())
	for _, log := range harness.Must(filepath.Glob(c.Path("log", "*")))(t) {
		nowhere(t, secrets, log, string(harness.Must(os.ReadFile(log))(t)))
	}
	ownersAlone(t, c.Dir, secrets)
}

var noDumps = regexp.MustCompile(`Max core file size +0 +0 `)

// verbosity is the highest at which kube-apiserver shows no bodies: from 8 on it logs those of its own calls, to which
// the Secrets of bootstrap tokens belong.
const verbosity = "7"

func nowhere(t *testing.T, secrets planted, where, text string) {
	t.Helper()
	for _, what := range secrets.found(text) {
		at := strings.Index(text, secrets[what])
		t.Errorf("%s shows %s: %q", where, what, text[max(0, at-200):min(len(text), at+100)])
	}
}

// useSecrets has the API store, issue, take and refuse some.
func useSecrets(t *testing.T, c *harness.Cluster, secrets planted, static string) {
	t.Helper()
	c.Kubectl(t, "create", "secret", "generic", "kept", "--from-literal=key="+secrets.token("what a Secret holds", "planted-in-a-secret"))
	c.Kubectl(t, "-n", "kube-system", "create", "secret", "generic", "bootstrap-token-abcdef", "--type=bootstrap.kubernetes.io/token",
		"--from-literal=token-id=abcdef", "--from-literal=token-secret="+secrets.token("a bootstrap token", "p1antedp1anted00"),
		"--from-literal=usage-bootstrap-authentication=true")
	c.Kubectl(t, "create", "serviceaccount", "robot")
	robot := secrets.token("a service account's token", strings.TrimSpace(c.Kubectl(t, "create", "token", "robot")))
	installCRD(t, &c.API, "planted.example.com")
	for _, token := range []string{static, robot, "abcdef.p1antedp1anted00", secrets.token("a token of nobody's", "planted-token-of-nobody")} {
		as := c.As(t, token)
		for _, path := range []string{"/api/v1/namespaces/default/secrets/kept", gadgetsPath("planted.example.com"), "/apis/apiregistration.k8s.io/v1/apiservices"} {
			if got := as.Get(t, path); got.Code == http.StatusOK {
				t.Errorf("%s: %s", path, got)
			}
		}
	}
	c.Kubectl(t, "get", "secrets", "-A", "-o", "yaml")
}

// ownersAlone demands that what holds a secret below dir is for its owner, or for the user that it is a copy for.
func ownersAlone(t *testing.T, dir string, secrets planted) {
	t.Helper()
	holders := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || len(secrets.found(string(content))) == 0 {
			return err
		}
		holders++
		others := fs.FileMode(0o177)
		if strings.HasPrefix(path, filepath.Join(dir, "run")+"/") {
			others = 0o137 // the group is that user's alone
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&others != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return err
	})
	if err != nil || holders < 20 {
		t.Errorf("%d files hold a secret: %v", holders, err)
	}
}

// What is wrong in a file of secrets is told without them.
func TestMistakesAreToldWithoutTheSecretsInThem(t *testing.T) {
	t.Parallel()
	dir := harness.TempDir(t)
	secrets := planted{"the secret": "planted-secret", "the secret in base64": base64.StdEncoding.EncodeToString([]byte("planted-secret"))}
	for name, m := range map[string]struct{ flag, content string }{
		"an encryption key that is no base64": {"encryption-provider-config", encryptionHead + "  - aescbc: {keys: [{name: a, secret: planted-secret}]}\n"},
		"one of a wrong length":               {"encryption-provider-config", encryptionHead + "  - aescbc: {keys: [{name: a, secret: " + secrets["the secret in base64"] + "}]}\n"},
		"one in the wrong place":              {"encryption-provider-config", encryptionHead + "  - aescbc: {keys: planted-secret}\n"},
		"one that is no YAML":                 {"encryption-provider-config", encryptionHead + "  - aescbc: {keys: [{name: a, secret: planted-secret: }]}\n"},
		"one of two kinds":                    {"encryption-provider-config", encryptionHead + "  - aescbc: {keys: [{name: a, secret: planted-secret, secret: planted-secret}]}\n"},
		"a line of tokens that is too short":  {"token-auth-file", "planted-secret,jane\n"},
		"a line with a quote in it":           {"token-auth-file", "planted-\"secret,jane,planted-secret\n"},
		"a kubeconfig of another shape":       {"authentication-token-webhook-config-file", "apiVersion: v1\nkind: Config\nusers: [{name: a, user: {token: {planted-secret: b}}}]\n"},
		"one that is no YAML ":                {"authentication-token-webhook-config-file", "apiVersion: v1\nkind: Config\nusers: [{name: a, user: {token: planted-secret: }}]\n"},
		"a signing key that is none":          {"service-account-signing-key-file", "-----BEGIN PRIVATE KEY-----\nplanted-secret\n-----END PRIVATE KEY-----\n"},
		"a serving key that is none":          {"tls-private-key-file", "-----BEGIN PRIVATE KEY-----\nplanted-secret\n-----END PRIVATE KEY-----\n"},
		"an SSH key that is none":             {"ssh-keyfile", "-----BEGIN OPENSSH PRIVATE KEY-----\nplanted-secret\n-----END OPENSSH PRIVATE KEY-----\n"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(strings.TrimSpace(name), " ", "-"))
		harness.WriteFile(t, path, []byte(m.content), 0o600)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		data := filepath.Join(dir, "data-"+filepath.Base(path))
		stdout, stderr, code := harness.Command(ctx, harness.Bin("supervisor"), "run", "--data-dir", data, "--secure-port=0", "--v=9", "--"+m.flag+"="+path)
		cancel()
		if code != exitConfiguration {
			t.Errorf("%s: ends with %d: %s", name, code, stderr)
		}
		nowhere(t, secrets, name, stdout+stderr)
	}
}
