package services

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
)

const head = "https://127.0.0.1:7443"

func service(namespace, name, clusterIP string, kind corev1.ServiceType, port int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type: kind, ClusterIP: clusterIP, ExternalName: "elsewhere.example.org",
			Ports: []corev1.ServicePort{{Port: port}},
		},
	}
}

func newTestResolver(t *testing.T, services ...*corev1.Service) *Resolver {
	t.Helper()
	factory := informers.NewSharedInformerFactory(nil, 0)
	for _, s := range services {
		if err := factory.Core().V1().Services().Informer().GetStore().Add(s); err != nil {
			t.Fatal(err)
		}
	}
	r, err := (&Options{}).NewResolver(factory, head)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServicesAreFoundByTheirClusterIPAndTheAPIItselfAtTheHead(t *testing.T) {
	r := newTestResolver(t,
		service("default", "kubernetes", "10.96.0.1", corev1.ServiceTypeClusterIP, 443),
		service("other", "kubernetes", "10.96.0.9", corev1.ServiceTypeClusterIP, 443),
		service("hooks", "policy", "10.96.0.2", corev1.ServiceTypeClusterIP, 8443),
		service("hooks", "abroad", "", corev1.ServiceTypeExternalName, 443),
	)
	for name, c := range map[string]struct {
		namespace, name string
		port            int32
		want            string
	}{
		"the API itself":                {"default", "kubernetes", 443, head},
		"a namesake elsewhere":          {"other", "kubernetes", 443, "https://10.96.0.9:443"},
		"a webhook":                     {"hooks", "policy", 8443, "https://10.96.0.2:8443"},
		"an external name":              {"hooks", "abroad", 443, "https://elsewhere.example.org:443"},
		"a port that is not there":      {"hooks", "policy", 443, ""},
		"a service that is not there":   {"hooks", "nobody", 443, ""},
		"another port of the API's own": {"default", "kubernetes", 6443, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.ResolveEndpoint(c.namespace, c.name, c.port)
			if (err == nil) != (c.want != "") || (err == nil && got.String() != c.want) {
				t.Errorf("got %v, %v, want %q", got, err, c.want)
			}
		})
	}
}

// Webhooks that the API itself serves are called before the Service kubernetes
// has been created.
func TestTheAPIItselfIsFoundBeforeItsServiceExists(t *testing.T) {
	got, err := newTestResolver(t).ResolveEndpoint("default", "kubernetes", 443)
	if err != nil || got.String() != head {
		t.Errorf("got %v, %v, want %s", got, err, head)
	}
}
