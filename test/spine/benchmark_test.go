package spine

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"triptych.dev/triptych/test/harness"
)

// examined is an instance that is held against the CIS benchmark.
type examined struct {
	c     *harness.Cluster
	flags map[string]string
}

func (e examined) is(flag, want string) bool { return e.flags[flag] == want }

func (e examined) given(flag string) bool { return e.flags[flag] != "" && e.flags[flag] != "[]" }

func (e examined) has(flag, value string) bool {
	return slices.Contains(strings.Split(strings.Trim(e.flags[flag], "[]"), ","), value)
}

func (e examined) atLeast(flag string, want int) bool {
	var is int
	_, err := fmt.Sscan(e.flags[flag], &is)
	return err == nil && is >= want
}

// loads tells whether core, which has all plugins, runs one.
func (e examined) loads(t *testing.T, plugin string) bool {
	for _, names := range loadedIn(t, string(harness.Must(os.ReadFile(e.c.Path("log", "core.log")))(t))) {
		if slices.Contains(names, plugin) {
			return true
		}
	}
	return false
}

// benchmark is how each row of the table in docs/explanation/security.md is told.
var benchmark = map[string]func(*testing.T, examined) bool{
	"1.2.1": func(t *testing.T, e examined) bool {
		answer, err := harness.Send(t.Context(), e.c.Anonymous(t), http.MethodGet, "/version", "")
		return err == nil && answer.Code == http.StatusUnauthorized && e.is("anonymous-auth", "false")
	},
	"1.2.2": func(_ *testing.T, e examined) bool { return !e.given("token-auth-file") },
	"1.2.3": func(t *testing.T, e examined) bool {
		return e.loads(t, "DenyServiceExternalIPs")
	},
	"1.2.4": func(_ *testing.T, e examined) bool {
		return e.given("kubelet-client-certificate") && e.given("kubelet-client-key")
	},
	"1.2.5":  func(_ *testing.T, e examined) bool { return e.given("kubelet-certificate-authority") },
	"1.2.6":  func(_ *testing.T, e examined) bool { return !e.has("authorization-mode", "AlwaysAllow") },
	"1.2.7":  func(_ *testing.T, e examined) bool { return e.has("authorization-mode", "Node") },
	"1.2.8":  func(_ *testing.T, e examined) bool { return e.has("authorization-mode", "RBAC") },
	"1.2.9":  func(t *testing.T, e examined) bool { return e.loads(t, "EventRateLimit") },
	"1.2.10": func(t *testing.T, e examined) bool { return !e.loads(t, "AlwaysAdmit") },
	"1.2.11": func(t *testing.T, e examined) bool { return e.loads(t, "AlwaysPullImages") },
	"1.2.12": func(t *testing.T, e examined) bool { return e.loads(t, "ServiceAccount") },
	"1.2.13": func(t *testing.T, e examined) bool { return e.loads(t, "NamespaceLifecycle") },
	"1.2.14": func(t *testing.T, e examined) bool { return e.loads(t, "NodeRestriction") },
	"1.2.15": func(t *testing.T, e examined) bool {
		return e.is("profiling", "false") && e.c.Get(t, "/debug/pprof/").Code == http.StatusNotFound
	},
	"1.2.16": func(_ *testing.T, e examined) bool { return e.given("audit-log-path") && e.given("audit-policy-file") },
	"1.2.17": func(_ *testing.T, e examined) bool { return e.atLeast("audit-log-maxage", 30) },
	"1.2.18": func(_ *testing.T, e examined) bool { return e.atLeast("audit-log-maxbackup", 10) },
	"1.2.19": func(_ *testing.T, e examined) bool { return e.atLeast("audit-log-maxsize", 100) },
	"1.2.20": func(_ *testing.T, e examined) bool {
		return e.given("request-timeout") && !e.is("request-timeout", "0s")
	},
	"1.2.21": func(_ *testing.T, e examined) bool { return e.is("service-account-lookup", "true") },
	"1.2.22": func(_ *testing.T, e examined) bool { return e.given("service-account-key-file") },
	"1.2.23": func(_ *testing.T, e examined) bool { return e.given("etcd-certfile") && e.given("etcd-keyfile") },
	"1.2.24": func(_ *testing.T, e examined) bool {
		return e.given("tls-cert-file") && e.given("tls-private-key-file")
	},
	"1.2.25": func(_ *testing.T, e examined) bool { return e.given("client-ca-file") },
	"1.2.26": func(_ *testing.T, e examined) bool { return e.given("etcd-cafile") },
	"1.2.27": func(_ *testing.T, e examined) bool { return e.given("encryption-provider-config") },
	"1.2.28": func(t *testing.T, e examined) bool {
		e.c.Kubectl(t, "create", "secret", "generic", "examined", "--from-literal=a=b")
		for _, value := range e.c.EtcdAs(t, operator).Stored(t, "/registry/secrets/default/examined") {
			return strings.HasPrefix(harness.Encoding(value), "k8s:enc:")
		}
		return false
	},
	"1.2.29": func(t *testing.T, e examined) bool {
		for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			strong := strings.HasPrefix(suite.Name, "TLS_ECDHE_") && (strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "CHACHA20"))
			if strong || !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			conn, err := tls.Dial("tcp", strings.TrimPrefix(e.c.URL(t), "https://"),
				&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
			if err == nil {
				conn.Close()
				return false
			}
		}
		return true
	},
	"1.2.30": func(_ *testing.T, e examined) bool { return e.is("service-account-extend-token-expiration", "false") },
	"2.1": func(t *testing.T, e examined) bool {
		return e.etcdRefuses(t, harness.Must(harness.NewCA("etcd-ca"))(t))
	},
	"2.2": func(t *testing.T, e examined) bool { return e.etcdRefuses(t, nil) },
	"2.3": func(t *testing.T, e examined) bool {
		_, err := os.Stat(e.c.Path("etcd", "fixtures"))
		return os.IsNotExist(err)
	},
	"2.4 to 2.6": func(t *testing.T, e examined) bool {
		status := e.c.WaitReady(t)
		return len(harness.Must(harness.SocketsOf([]int{status.Etcd.PID}))(t)) == 2 // for clients, and for health
	},
	"2.7": func(t *testing.T, e examined) bool {
		one, other := harness.Must(os.ReadFile(e.c.Path("pki", "etcd", "ca.crt")))(t), harness.Must(os.ReadFile(e.c.Path("pki", "ca.crt")))(t)
		return len(one) > 0 && !bytes.Equal(one, other)
	},
}

// etcdRefuses tells whether etcd turns away who has a certificate of a CA, or none, and shows one of its own CA.
func (e examined) etcdRefuses(t *testing.T, ca *harness.Pair) bool {
	etcd := e.c.EtcdAs(t, operator)
	config := harness.Must(etcd.TLS())(t)
	config.GetClientCertificate, config.Certificates, config.ServerName = nil, nil, "127.0.0.1"
	if ca != nil {
		pair := harness.Must(ca.Issue(harness.Leaf{CommonName: "core", Usage: clientAuth}))(t)
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { all := pair.TLS(); return &all, nil }
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(etcd.URL, "https://"), config)
	if err != nil {
		return strings.Contains(err.Error(), "remote error: tls")
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err != nil && strings.Contains(err.Error(), "remote error: tls")
}

var benchmarkRow = regexp.MustCompile(`(?m)^\| ([12]\.[0-9. to]+) \| .* \| (holds|yours) \| .*\|$`)

// What docs/explanation/security.md says of each check is so without flags, and with those flags that it names all of them hold.
func TestTheBenchmarkStandsAsDocumented(t *testing.T) {
	t.Parallel()
	rows := benchmarkRow.FindAllStringSubmatch(string(harness.Must(os.ReadFile("../../docs/explanation/security.md"))(t)), -1)
	if len(rows) != len(benchmark) {
		t.Errorf("%d rows of %d checks", len(rows), len(benchmark))
	}
	plain := harness.Shared(t)
	without := examined{plain, flagsOf(t, &plain.API)}
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/audit.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	harness.WriteFile(t, files+"/encryption.yaml", []byte(encryptionHead+"  - secretbox: {keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n"), 0o600)
	harness.WriteFile(t, files+"/limit.yaml", []byte("apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\nlimits: [{type: Server, qps: 500, burst: 5000}]\n"), 0o600)
	harness.WriteFile(t, files+"/admission.yaml", []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: EventRateLimit, path: "+files+"/limit.yaml}]\n"), 0o600)
	if err := harness.Must(harness.NewCA("kubelets"))(t).Write(files + "/kubelets"); err != nil {
		t.Fatal(err)
	}
	hardened := harness.Run(t, harness.Options{Args: []string{
		"--anonymous-auth=false", "--enable-admission-plugins=DenyServiceExternalIPs,EventRateLimit,AlwaysPullImages,NodeRestriction",
		"--admission-control-config-file=" + files + "/admission.yaml", "--kubelet-certificate-authority=" + files + "/kubelets.crt",
		"--profiling=false", "--audit-log-path=" + files + "/audit.log", "--audit-policy-file=" + files + "/audit.yaml",
		"--encryption-provider-config=" + files + "/encryption.yaml", "--service-account-extend-token-expiration=false",
		"--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384," +
			"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	}})
	with := examined{hardened, flagsOf(t, &hardened.API)}
	for _, row := range rows {
		check, known := benchmark[row[1]]
		if !known {
			t.Errorf("nobody checks %s", row[1])
			continue
		}
		if got := check(t, without); got != (row[2] == "holds") {
			t.Errorf("%s holds without flags: %v, documented is %q", row[1], got, row[2])
		}
		if !check(t, with) {
			t.Errorf("%s does not hold with all flags", row[1])
		}
	}
}
