package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	// rightRounds of each grant and each revocation, alternating between the sides.
	rightRounds = 20
	rightsGroup = "rights.example.com"
	rbac        = "/apis/rbac.authorization.k8s.io/v1"
)

// right is one that a binding gives, and where it counts.
type right struct {
	name string
	// path answers 403 without the right, and anything else with it.
	path string
	// namespace of the binding; cluster-wide if empty.
	namespace string
}

var rights = []right{
	{"core, RoleBinding", "/api/v1/namespaces/default/secrets", "default"},
	{"core, ClusterRoleBinding", "/api/v1/nodes", ""},
	{"custom resources, RoleBinding", "/apis/" + rightsGroup + "/v1/namespaces/default/gadgets", "default"},
	{"custom resources, ClusterRoleBinding", "/apis/" + rightsGroup + "/v1/gadgets", ""},
	{"APIServices", "/apis/apiregistration.k8s.io/v1/apiservices", ""},
	{"aggregated APIs", "/apis/behind." + rightsGroup + "/v1/things", ""},
	{"paths", "/metrics/slis", ""},
}

// reportRights prints how long it takes until a binding that was made or deleted
// counts, in whichever tier.
func (p *pair) reportRights() error {
	sides := [2]struct {
		*side
		user *rest.Config
	}{}
	for i, of := range [2]struct{ kubeconfig, pki string }{{p.ours.Kubeconfig, p.ours.Path("pki")}, {p.stock.Kubeconfig, p.stock.Dir + "/pki"}} {
		var err error
		if sides[i].side, err = newSide(of.kubeconfig); err != nil {
			return err
		}
		if sides[i].user, err = sides[i].stranger(of.pki); err != nil {
			return err
		}
		if err := sides[i].prepareRights(); err != nil {
			return err
		}
	}
	fmt.Printf("\n| a right counts after, ms, p50 / max of %d | granted, ours | stock | revoked, ours | stock |\n|---|---|---|---|---|\n", rightRounds)
	for _, r := range rights {
		var granted, revoked [2][]time.Duration
		for range rightRounds {
			for i, s := range sides {
				if err := s.measure(r, s.user, &granted[i], &revoked[i]); err != nil {
					return fmt.Errorf("%s: %w", r.name, err)
				}
			}
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", r.name, spread(granted[0]), spread(granted[1]), spread(revoked[0]), spread(revoked[1]))
	}
	return nil
}

func spread(times []time.Duration) string {
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	return fmt.Sprintf("%.1f / %.1f", ms(median(times)), ms(slices.Max(times)))
}

// stranger is a user of no role.
func (s *side) stranger(pki string) (*rest.Config, error) {
	ca, err := harness.LoadPair(pki+"/ca.crt", pki+"/ca.key")
	if err != nil {
		return nil, err
	}
	who, err := ca.Issue(harness.Leaf{CommonName: "stranger", Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(s.config)
	config.CertData, config.KeyData, config.QPS = who.CertPEM(), who.KeyPEM(), -1
	return config, nil
}

// prepareRights makes the role and the resources that it is about. Nobody has to
// be behind the aggregated group: a 503 is the answer to whoever may ask.
func (s *side) prepareRights() error {
	if err := s.createCRD(rightsGroup); err != nil {
		return err
	}
	if err := s.must(http.MethodPost, "/apis/apiregistration.k8s.io/v1/apiservices", fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService",
		"metadata":{"name":"v1.behind.%[1]s"},"spec":{"group":"behind.%[1]s","version":"v1","groupPriorityMinimum":100,"versionPriority":10,
		"insecureSkipTLSVerify":true,"service":{"namespace":"default","name":"none"}}}`, rightsGroup), "application/json"); err != nil {
		return err
	}
	if err := s.must(http.MethodPost, rbac+"/clusterroles", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"everything"},
		"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]},{"nonResourceURLs":["*"],"verbs":["*"]}]}`, "application/json"); err != nil {
		return err
	}
	return harness.Await(context.Background(), seenBound, "the namespace and the CRD are served", func() error {
		for _, path := range []string{"/api/v1/namespaces/default", "/apis/" + rightsGroup + "/v1/gadgets"} {
			if answer, err := s.send(http.MethodGet, path, ""); err != nil || answer.Code != http.StatusOK {
				return fmt.Errorf("%s: %v %w", path, answer, err)
			}
		}
		return nil
	})
}

// measure grants the right and takes it back.
func (s *side) measure(r right, user *rest.Config, granted, revoked *[]time.Duration) error {
	kind, path := "ClusterRoleBinding", rbac+"/clusterrolebindings"
	if r.namespace != "" {
		kind, path = "RoleBinding", rbac+"/namespaces/"+r.namespace+"/rolebindings"
	}
	binding := fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":%q,"metadata":{"name":"stranger"},
		"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"everything"},
		"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"stranger"}]}`, kind)
	if err := s.must(http.MethodPost, path, binding, "application/json"); err != nil {
		return err
	}
	took, err := until(user, r.path, func(code int) bool { return code != http.StatusForbidden })
	if err != nil {
		return err
	}
	*granted = append(*granted, took)
	if err := s.must(http.MethodDelete, path+"/stranger", "", "application/json"); err != nil {
		return err
	}
	took, err = until(user, r.path, func(code int) bool { return code == http.StatusForbidden })
	*revoked = append(*revoked, took)
	return err
}

// until asks without a pause and returns how long the answer was another: to the
// start of the first question that had it, which is zero when it is at once.
func until(user *rest.Config, path string, ok func(code int) bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), seenBound)
	defer cancel()
	began := time.Now()
	for {
		asked := time.Now()
		answer, err := harness.Send(ctx, user, http.MethodGet, path, "")
		if err != nil {
			return 0, err
		}
		if ok(answer.Code) {
			return asked.Sub(began), nil
		}
	}
}
