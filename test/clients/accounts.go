package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"

	"triptych.dev/triptych/test/harness"
)

// accounts have tokens that controllers make and end: one in a Secret, one bound
// to a pod.
func accounts(t *testing.T, w *world) {
	ns := w.namespace(t, "accounts")
	w.wait(t, ns, "create", "configmap/kube-root-ca.crt")
	w.Kubectl(t, "-n", ns, "create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount="+ns+":default")
	w.apply(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: old, annotations: {kubernetes.io/service-account.name: default}}\n"+
		"type: kubernetes.io/service-account-token\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: main}\n"+
		"spec: {containers: [{name: main, image: none}]}\n", "-n", ns)
	w.wait(t, ns, "jsonpath={.data.token}", "secret/old")
	w.wait(t, ns, "condition=Ready", "pod/main")
	client := w.Clientset(t).CoreV1()
	secret := harness.Must(client.Secrets(ns).Get(t.Context(), "old", metav1.GetOptions{}))(t)
	pod := harness.Must(client.Pods(ns).Get(t.Context(), "main", metav1.GetOptions{}))(t)
	bound := harness.Must(client.ServiceAccounts(ns).CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "main", UID: pod.UID}},
	}, metav1.CreateOptions{}))(t)
	lists := func(token string) error {
		config := w.Anonymous(t)
		config.BearerToken = token
		_, err := harness.Must(kubernetes.NewForConfig(config))(t).CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err
	}
	for name, token := range map[string]string{"of the secret": string(secret.Data["token"]), "of the pod": bound.Status.Token} {
		if err := lists(token); err != nil {
			t.Errorf("the token %s: %v", name, err)
		}
	}
	w.Kubectl(t, "-n", ns, "delete", "pod/main")
	refused := func(token string) func() error {
		return func() error {
			if err := lists(token); !errors.IsUnauthorized(err) {
				return fmt.Errorf("want a 401: %v", err)
			}
			return nil
		}
	}
	harness.Eventually(t, patience, "the token of the pod has ended", refused(bound.Status.Token))
	w.Kubectl(t, "-n", ns, "delete", "serviceaccount/default")
	harness.Eventually(t, patience, "the token of the secret has ended", refused(string(secret.Data["token"])))
	w.wait(t, ns, "create", "serviceaccount/default") // another is made
	w.wait(t, ns, "delete", "secret/old")
}

// signing is what controllers add to other objects: a certificate, the rules of
// an aggregated role, what is wrong with a policy on custom resources.
func signing(t *testing.T, w *world) {
	ns := w.namespace(t, "signing")
	key := harness.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	request := harness.Must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "carla"}}, key))(t)
	w.apply(t, "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: carla}\n"+
		"spec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: "+
		harness.Base64(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))+"}\n")
	w.Kubectl(t, "certificate", "approve", "carla")
	w.wait(t, "", "jsonpath={.status.certificate}", "csr/carla")
	csr := harness.Must(w.Clientset(t).CertificatesV1().CertificateSigningRequests().Get(t.Context(), "carla", metav1.GetOptions{}))(t)
	config := w.Anonymous(t)
	config.CertData, config.KeyData = csr.Status.Certificate, harness.Must(keyutil.MarshalPrivateKeyToPEM(key))(t)

	w.apply(t, `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: widget-viewer, labels: {rbac.authorization.k8s.io/aggregate-to-view: "true"}}
rules: [{apiGroups: [`+group+`], resources: [widgets], verbs: [get, list]}]
`)
	w.Kubectl(t, "-n", ns, "create", "rolebinding", "carla", "--clusterrole=view", "--user=carla")
	harness.Eventually(t, patience, "view is allowed for widgets", func() error { return listsWidgets(t, config, ns) })

	w.apply(t, `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: mistyped}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [`+group+`], apiVersions: [v1], operations: [CREATE], resources: [widgets]}]}
  validations: [{expression: "object.spec.size == 'large'"}]
`)
	w.wait(t, "", "jsonpath={.status.typeChecking.expressionWarnings[0].warning}", "validatingadmissionpolicy/mistyped")
	if said := w.Kubectl(t, "get", "validatingadmissionpolicy/mistyped", "-o", "yaml"); !strings.Contains(said, "no matching overload") {
		t.Errorf("the type check says %s", said)
	}
}

func listsWidgets(t *testing.T, config *rest.Config, ns string) error {
	answer, err := harness.Send(t.Context(), config, "GET", "/apis/"+group+"/v1/namespaces/"+ns+"/widgets", "")
	if err == nil && answer.Code != 200 {
		err = fmt.Errorf("%s", answer)
	}
	return err
}
