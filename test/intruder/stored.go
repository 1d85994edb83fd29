package intruder

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/tier"
)

// others are keys that are not the tier's: Secrets, bindings, CRDs, custom resources, APIServices.
var others = map[tier.Name][]string{
	tier.Extensions: {"/registry/secrets/", "/registry/clusterrolebindings/", "/registry/apiregistration.k8s.io/apiservices/"},
	tier.Core:       {"/registry/apiextensions.k8s.io/customresourcedefinitions/", "/registry/example.com/gadgets/", "/registry/apiregistration.k8s.io/apiservices/"},
	tier.Aggregator: {"/registry/secrets/", "/registry/clusterrolebindings/", "/registry/apiextensions.k8s.io/customresourcedefinitions/", "/registry/example.com/gadgets/"},
}

// owned are keys that are.
var owned = map[tier.Name]string{
	tier.Extensions: "/registry/apiextensions.k8s.io/customresourcedefinitions/", tier.Core: "/registry/secrets/", tier.Aggregator: "/registry/apiregistration.k8s.io/apiservices/",
}

// stored is what to try at etcd.
func stored(name tier.Name) []Attempt {
	var all []Attempt
	add := func(what string, do func(context.Context, *clientv3.Client) error) {
		all = append(all, Attempt{Name: what, By: byEtcd, Try: func(p *Place) error { return p.inEtcd(do) }})
	}
	add("read its own keys in etcd", func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Get(ctx, owned[name], clientv3.WithPrefix(), clientv3.WithCountOnly())
		return err
	})
	all[0].By, all[0].Works = "", true
	for _, keys := range others[name] {
		add("read "+keys+" in etcd", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Get(ctx, keys, clientv3.WithPrefix())
			return err
		})
		add("write into "+keys+" in etcd", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Put(ctx, keys+"intruder", "x")
			return err
		})
		add("delete from "+keys+" in etcd", func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Delete(ctx, keys+"nobody-has-this-one")
			return err
		})
		add("watch "+keys+" in etcd", func(ctx context.Context, c *clientv3.Client) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			first := <-c.Watch(ctx, keys, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
			return first.Err()
		})
	}
	add("read all of etcd", func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
		return err
	})
	if name != tier.Core {
		add("compact etcd", func(ctx context.Context, c *clientv3.Client) error { _, err := c.Compact(ctx, 1); return err })
		add("take a lease in etcd", func(ctx context.Context, c *clientv3.Client) error { _, err := c.Grant(ctx, 60); return err })
	}
	add("take a snapshot of etcd", func(ctx context.Context, c *clientv3.Client) error {
		reader, err := c.Snapshot(ctx)
		if err == nil {
			defer reader.Close()
			_, err = reader.Read(make([]byte, 1))
		}
		return err
	})
	add("give itself a right in etcd", func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.RoleGrantPermission(ctx, "triptych-"+string(name), "/", "0", clientv3.PermissionType(clientv3.PermReadWrite))
		return err
	})
	add("turn rights in etcd off", func(ctx context.Context, c *clientv3.Client) error { _, err := c.AuthDisable(ctx); return err })
	add("try a password in etcd", func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Authenticate(ctx, "root", "password")
		return err
	})
	add("list members of etcd", func(ctx context.Context, c *clientv3.Client) error { _, err := c.MemberList(ctx); return err })
	shown := map[string]func(*Place) *tls.Certificate{
		"without a certificate":                         func(*Place) *tls.Certificate { return nil },
		"by its certificate for other tiers":            func(p *Place) *tls.Certificate { return p.pair("self") },
		"as its root, by a certificate of its making":   func(*Place) *tls.Certificate { return signed("root", identity.Peer{}) },
		"as supervisor, by a certificate of its making": func(*Place) *tls.Certificate { return signed("supervisor", identity.Peer{}) },
	}
	for _, what := range slices.Sorted(maps.Keys(shown)) {
		all = append(all, Attempt{Name: "come to etcd " + what, By: byCertificates, Try: func(p *Place) error {
			config := &tls.Config{InsecureSkipVerify: true}
			if pair := shown[what](p); pair != nil {
				config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
			}
			return let(strings.TrimPrefix(argument("etcd-servers"), "https://"), config)
		}})
	}
	return all
}

// inEtcd does something by the tier's certificate for etcd.
func (p *Place) inEtcd(do func(context.Context, *clientv3.Client) error) error {
	pair := p.pair("its certificate for etcd")
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{argument("etcd-servers")}, Logger: zap.NewNop(), DialTimeout: patience,
		TLS: &tls.Config{Certificates: []tls.Certificate{*pair}, InsecureSkipVerify: true},
	})
	if err != nil {
		return fmt.Errorf("%w: %v", errUnsure, err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = do(ctx, client)
	if err != nil && !strings.Contains(err.Error(), "ermission") {
		return fmt.Errorf("%w: %v", errUnsure, err)
	}
	return err
}

// wishes are requests that extensions and the head have no business with.
var wishes = []struct{ what, method, path, body string }{
	{"read ConfigMaps", "GET", "/api/v1/configmaps", ""},
	{"make a pod", "POST", "/api/v1/namespaces/default/pods", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "intruder"}}`},
	{"make a Secret", "POST", "/api/v1/namespaces/default/secrets", `{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "intruder"}}`},
	{"make itself an administrator", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata": {"name": "intruder"},
		"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "User", "name": "intruder"}]}`},
	{"have a service-account token made", "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}`},
	{"make a webhook", "POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", `{"metadata": {"name": "intruder"}}`},
	{"approve a certificate", "PUT", "/apis/certificates.k8s.io/v1/certificatesigningrequests/intruder/approval", `{"metadata": {"name": "intruder"}}`},
	{"delete a node", "DELETE", "/api/v1/nodes/nobody", ""},
	{"run something in a pod", "POST", "/api/v1/namespaces/default/pods/nobody/exec?command=id", ""},
	{"ask a kubelet", "GET", "/api/v1/nodes/nobody/proxy/pods", ""},
	{"finish a namespace", "PUT", "/api/v1/namespaces/nobody/finalize", `{"metadata": {"name": "nobody"}}`},
	{"see its profile", "GET", "/debug/pprof/heap", ""},
	{"read Nodes as somebody else", "GET", "/api/v1/nodes", "impersonating"},
}

// asItself is what a tier that is not the API asks of it by its own name.
func asItself(name tier.Name) []Attempt {
	if name == tier.Core {
		return nil
	}
	var all []Attempt
	for _, wish := range wishes {
		all = append(all, Attempt{Name: "as itself, " + wish.what, By: byRights, Try: func(p *Place) error {
			header, body := masters(), wish.body
			if body == "impersonating" {
				header.Set("Impersonate-User", "kubernetes-admin")
				body = ""
			}
			return p.hop(tier.Core, p.pair("self"), header, wish.method, wish.path, body)
		}})
	}
	return all
}
