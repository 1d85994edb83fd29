package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// API asks an API server.
type API struct {
	Context context.Context
	Client  *http.Client
	// Host is its URL.
	Host string
}

// get reads path into into. What does not exist is found false; all else that is no success is an error.
func (a API) get(path string, into any) (found bool, err error) {
	r, err := http.NewRequestWithContext(a.Context, http.MethodGet, a.Host+path, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := a.Client.Do(r)
	if err != nil {
		return false, fmt.Errorf("the API server does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return false, fmt.Errorf("cannot read %s: %w", path, err)
	case resp.StatusCode == http.StatusNotFound:
		return false, nil
	case resp.StatusCode != http.StatusOK:
		said := metav1.Status{}
		_ = json.Unmarshal(body, &said)
		return false, fmt.Errorf("%s answers %s: %s", path, resp.Status, said.Message)
	}
	return true, json.Unmarshal(body, into)
}

// APIService says why an APIService is not available. The first finding is whether it is.
func APIService(a API, name string) ([]Finding, error) {
	var s apiregistrationv1.APIService
	if found, err := a.get("/apis/apiregistration.k8s.io/v1/apiservices/"+name, &s); err != nil {
		return nil, err
	} else if !found {
		return nil, fmt.Errorf("there is no APIService %s: kubectl get apiservices lists all; its name is VERSION.GROUP", name)
	}
	var all []Finding
	available := false
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if available = c.Status == apiregistrationv1.ConditionTrue; available {
			all = append(all, ok("available", "since %s", c.LastTransitionTime.Format(time.RFC3339)))
		} else {
			all = append(all, problem("available", "see below", "not since %s: %s: %s", c.LastTransitionTime.Format(time.RFC3339), c.Reason, c.Message))
		}
	}
	if len(all) == 0 {
		all = append(all, problem("available", "see supervisor status: the aggregator says it when it has looked", "nobody has looked at it yet"))
	}
	if s.Spec.Service == nil {
		return append(all, a.served(s)), nil
	}
	return append(all, a.behind(s)...), nil
}

func (a API) served(s apiregistrationv1.APIService) Finding {
	begun := time.Now()
	path := "/apis/" + s.Spec.Group + "/" + s.Spec.Version
	if s.Spec.Group == "" {
		path = "/api/" + s.Spec.Version
	}
	found, err := a.get(path, &metav1.APIResourceList{})
	switch took := time.Since(begun).Round(time.Millisecond); {
	case err != nil:
		return problem("answer", "supervisor trace "+path+" says which process serves it; supervisor events and logs say what it lacks", "%v", err)
	case !found:
		return problem("answer", "delete the APIService if its API is gone; one of a CRD comes back by itself", "nobody serves %s", path)
	default:
		return ok("answer", "%s within %s", path, took)
	}
}

// behind looks at what is between the head and an API server of its own, from the Service on.
func (a API) behind(s apiregistrationv1.APIService) []Finding {
	at := s.Spec.Service
	port := int32(443)
	if at.Port != nil {
		port = *at.Port
	}
	var service corev1.Service
	found, err := a.get("/api/v1/namespaces/"+at.Namespace+"/services/"+at.Name, &service)
	if err != nil {
		return []Finding{problem("service", "see supervisor status", "%v", err)}
	}
	if !found {
		return []Finding{problem("service", "install the API server again, or, if it is gone for good, kubectl delete apiservice "+s.Name, "there is no Service %s/%s", at.Namespace, at.Name)}
	}
	all := []Finding{ok("service", "%s/%s", at.Namespace, at.Name)}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		all = append(all, ok("endpoints", "they are elsewhere: %s", service.Spec.ExternalName))
	} else {
		if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port }) {
			all = append(all, problem("port", "give spec.service.port of the APIService one that the Service has", "the Service has no port %d", port))
		}
		all = append(all, a.endpoints(service))
	}
	switch {
	case s.Spec.InsecureSkipTLSVerify:
		all = append(all, warning("trust", "give it a caBundle", "whoever answers is believed: insecureSkipTLSVerify"))
	case len(s.Spec.CABundle) == 0:
		all = append(all, ok("trust", "by the CAs of the machine: there is no caBundle"))
	default:
		all = append(all, ok("trust", "by its caBundle, as %s.%s.svc", at.Name, at.Namespace))
	}
	answer := a.served(s)
	if answer.Level == Problem {
		answer.Remedy = "see the logs of its pods, and that this machine reaches its network: the head asks it for /apis/" + s.Spec.Group + "/" + s.Spec.Version + " itself"
	}
	return append(all, answer)
}

func (a API) endpoints(service corev1.Service) Finding {
	var slices discoveryv1.EndpointSliceList
	if _, err := a.get("/apis/discovery.k8s.io/v1/namespaces/"+service.Namespace+"/endpointslices?labelSelector="+discoveryv1.LabelServiceName+"%3D"+service.Name, &slices); err != nil {
		return problem("endpoints", "see supervisor status", "%v", err)
	}
	ready, not := 0, 0
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			} else {
				not++
			}
		}
	}
	if ready == 0 {
		return problem("endpoints", fmt.Sprintf("see its pods: kubectl -n %s get pods -l %s; without a controller manager nobody makes endpoints", service.Namespace, selector(service)), "none is ready, %d are not", not)
	}
	return ok("endpoints", "%d are ready, %d not", ready, not)
}

func selector(service corev1.Service) string {
	var pairs []string
	for key, value := range service.Spec.Selector {
		pairs = append(pairs, key+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// Namespace says why a namespace does not go away. The first finding is whether it is to.
func Namespace(a API, name string) ([]Finding, error) {
	var ns corev1.Namespace
	if found, err := a.get("/api/v1/namespaces/"+name, &ns); err != nil {
		return nil, err
	} else if !found {
		return nil, fmt.Errorf("there is no namespace %s", name)
	}
	if ns.DeletionTimestamp == nil {
		return []Finding{ok("namespace", "nobody has deleted it: nothing is stuck")}, nil
	}
	all := []Finding{problem("namespace", "see below", "it is to go since %s", ns.DeletionTimestamp.Format(time.RFC3339))}
	for _, c := range ns.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			all = append(all, problem(string(c.Type), remedyOf(c), "%s: %s", c.Reason, c.Message))
		}
	}
	left, err := a.left(name)
	if err != nil {
		return nil, err
	}
	all = append(all, left...)
	if len(all) == 1 {
		all = append(all, a.controller(ns))
	}
	return all, nil
}

func remedyOf(c corev1.NamespaceCondition) string {
	switch c.Type {
	case corev1.NamespaceDeletionDiscoveryFailure:
		return "an API is away, and what it has in there is not known: supervisor why apiservice says why; delete its APIService if it is gone for good"
	case corev1.NamespaceFinalizersRemaining:
		return "see the finalizers below: who has put them there has to take them away"
	}
	return "see the objects below"
}

// left are the objects that are still there.
func (a API) left(namespace string) ([]Finding, error) {
	groups := []string{"/api/v1"}
	var list metav1.APIGroupList
	if _, err := a.get("/apis", &list); err != nil {
		return nil, err
	}
	for _, g := range list.Groups {
		groups = append(groups, "/apis/"+g.PreferredVersion.GroupVersion)
	}
	var all []Finding
	for _, group := range groups {
		var resources metav1.APIResourceList
		if found, err := a.get(group, &resources); err != nil || !found {
			all = append(all, problem("api", "supervisor why apiservice "+serviceName(group)+" says more; delete the APIService if it is gone for good", "%s does not say what it has: %v", group, err))
			continue
		}
		for _, r := range resources.APIResources {
			if !r.Namespaced || strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || r.Name == "events" {
				continue
			}
			all = append(all, a.objects(group, namespace, r.Name)...)
		}
	}
	return all, nil
}

func serviceName(group string) string {
	name, version, _ := strings.Cut(strings.TrimPrefix(group, "/apis/"), "/")
	return version + "." + name
}

// objects are those of one kind, with the finalizers that hold them.
func (a API) objects(group, namespace, resource string) []Finding {
	var list metav1.PartialObjectMetadataList
	found, err := a.get(group+"/namespaces/"+namespace+"/"+resource+"?limit=500", &list)
	if err != nil {
		return []Finding{problem(resource, "supervisor trace "+group+" says which process serves it", "%v", err)}
	}
	if !found || len(list.Items) == 0 {
		return nil
	}
	held := map[string][]string{}
	for _, o := range list.Items {
		for _, f := range o.Finalizers {
			held[f] = append(held[f], o.Name)
		}
	}
	if len(held) == 0 {
		return []Finding{problem(resource, "see that kube-controller-manager runs, which deletes them", "%d are still there, such as %s", len(list.Items), list.Items[0].Name)}
	}
	var all []Finding
	for finalizer, names := range held {
		all = append(all, problem(resource, fmt.Sprintf("see that the controller of %s runs; if it is gone for good: kubectl -n %s patch %s %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'", finalizer, namespace, resource, names[0]),
			"%d are held by the finalizer %s, such as %s", len(names), finalizer, names[0]))
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Says, b.Says) })
	return all
}

// controller looks whether somebody is there who empties namespaces.
func (a API) controller(ns corev1.Namespace) Finding {
	const check = "controller"
	var lease coordinationv1.Lease
	found, err := a.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager", &lease)
	switch {
	case err != nil:
		return problem(check, "see supervisor status", "%v", err)
	case !found || lease.Spec.RenewTime == nil:
		return problem(check, "run kube-controller-manager, which empties namespaces and lets them go", "nobody has taken the lease of kube-controller-manager, and the finalizers %v are left", ns.Spec.Finalizers)
	}
	if age := time.Since(lease.Spec.RenewTime.Time); age > time.Minute {
		return problem(check, "start kube-controller-manager again, which empties namespaces and lets them go", "kube-controller-manager has not renewed its lease for %s", age.Round(time.Second))
	}
	return warning(check, "wait, and see the log of kube-controller-manager", "nothing is left, and kube-controller-manager runs")
}
