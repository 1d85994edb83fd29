package harness

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// sampleHost is how a head names the sample server when it calls it: the name of
// a Service, whatever address that leads to.
const sampleHost = "wardle.wardle.svc"

// Sample is upstream's sample API server, which serves flunders and fischers in
// wardle.example.com, as a process beside an API that it is registered with.
type Sample struct {
	*Process
	// Port is where it listens, on loopback, in every life of it.
	Port int
	// CA signed its certificate.
	CA *Pair

	args []string
}

// StartSample starts the sample server, with its data under a prefix of its own
// in etcd, and lets it ask api who its callers are and what they may do. It ends
// with the test.
func StartSample(t testing.TB, api *API, etcd *Etcd, prefix string) *Sample {
	t.Helper()
	dir := TempDir(t)
	s := &Sample{Port: Must(FreePort())(t), CA: Must(NewCA("wardle-ca"))(t)}
	server := Must(s.CA.Issue(Leaf{CommonName: sampleHost, Hosts: []string{sampleHost}, Usage: serverUsage}))(t)
	if err := server.Write(filepath.Join(dir, "server")); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.Port),
		"--tls-cert-file=" + dir + "/server.crt", "--tls-private-key-file=" + dir + "/server.key",
		"--kubeconfig=" + api.Kubeconfig, "--authentication-kubeconfig=" + api.Kubeconfig, "--authorization-kubeconfig=" + api.Kubeconfig,
		"--etcd-prefix=/registry/" + prefix,
	}, etcd.Flags()...)
	s.Start(t)
	t.Cleanup(func() {
		if err := s.End(StopBound); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the sample server of %s printed:\n%s", prefix, tail(s.Output.String(), 12))
		}
	})
	return s
}

// Start begins another life of it, on the same port with the same data.
func (s *Sample) Start(t testing.TB) {
	t.Helper()
	s.Process = Must(StartProcess(syscall.SIGKILL, nil, Bin("stock/sample-apiserver"), s.args...))(t)
}

// Kill ends its life without a word, and waits for that.
func (s *Sample) Kill(t testing.TB) {
	t.Helper()
	if err := s.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// Register makes both versions of wardle.example.com known to api: through a
// Service that is a name of this machine.
func (s *Sample) Register(t testing.TB, api *API) {
	t.Helper()
	api.KubectlInput(t, ExternalService("wardle", "wardle"), "apply", "-f", "-")
	for version, priority := range map[string]int{"v1alpha1": 10, "v1beta1": 20} {
		api.KubectlInput(t, APIService{
			Group: "wardle.example.com", Version: version, GroupPriority: 2000, VersionPriority: priority,
			Namespace: "wardle", Service: "wardle", Port: s.Port, CA: s.CA,
		}.Manifest(), "apply", "-f", "-")
	}
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		api.Kubectl(t, "wait", "--for=condition=Available", "--timeout=60s", "apiservice", version+".wardle.example.com")
	}
}

// APIService is what registers a group version.
type APIService struct {
	Group, Version                 string
	GroupPriority, VersionPriority int
	// Namespace and Service name the Service, which may be none.
	Namespace, Service string
	Port               int
	// CA is that of the server's certificate.
	CA *Pair
	// Labels are written into the metadata.
	Labels map[string]string
}

// Name of the object.
func (a APIService) Name() string { return a.Version + "." + a.Group }

var apiService = template.Must(template.New("").Parse(`apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: {{.Version}}.{{.Group}}
{{- if .Labels}}
  labels:
{{- range $key, $value := .Labels}}
    {{$key}}: "{{$value}}"
{{- end}}{{end}}
spec:
  group: {{.Group}}
  version: {{.Version}}
  groupPriorityMinimum: {{.GroupPriority}}
  versionPriority: {{.VersionPriority}}
{{- if .Service}}
  service: {namespace: {{.Namespace}}, name: {{.Service}}, port: {{.Port}}}
{{- end}}
{{- if .CA}}
  caBundle: {{.Bundle}}
{{- end}}
`))

// Bundle is the CA as it stands in the manifest.
func (a APIService) Bundle() string { return Base64(a.CA.CertPEM()) }

// Manifest is the object as YAML.
func (a APIService) Manifest() string {
	out := &bytes.Buffer{}
	if err := apiService.Execute(out, a); err != nil {
		panic(err) // the template and the type stand side by side
	}
	return out.String()
}

// ExternalService is the manifest of a Service, and of its namespace, that
// stands for this machine under any port.
func ExternalService(namespace, name string) string {
	return strings.NewReplacer("NAMESPACE", namespace, "NAME", name).Replace(`apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: v1
kind: Service
metadata: {namespace: NAMESPACE, name: NAME}
spec: {type: ExternalName, externalName: localhost}
`)
}
