package supervisor

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"math/rand/v2"

	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/supervisor/observe"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// grace is what the tiers are allowed when they stop.
func (s *setup) grace() Grace {
	f := s.options.Forwarded
	g := Grace{
		Delay:   f.Duration("shutdown-delay-duration", 0),
		Request: f.Duration("request-timeout", options.DefaultRequestTimeout),
		Watch:   f.Duration("shutdown-watch-termination-grace-period", options.DefaultWatchGrace),
	}
	if f.Given("audit-webhook-config-file") {
		backoff := f.Duration("audit-webhook-initial-backoff", options.DefaultAuditWebhookBackoff)
		g.Audit = auditWebhookGrace(max(backoff, f.Duration("audit-webhook-batch-initial-backoff", 0)))
	}
	if f.Given("tracing-config-file") {
		g.Traces = tracesGrace
	}
	return g
}

// members makes the children of the table.
func (s *setup) members() ([]*member, error) {
	var members []*member
	for _, row := range rows(s.embedded(), s.here, s.head) {
		if row.name == Etcd {
			m := s.member(row, Etcd)
			var err error
			if m.launch, m.observe, err = s.etcd(); err != nil {
				return nil, fmt.Errorf("cannot prepare %s: %w", row.name, err)
			}
			members = append(members, m)
			continue
		}
		for _, p := range s.sockets.of(tier.Name(row.name)) {
			m, err := s.replica(row, p)
			if err != nil {
				return nil, err
			}
			members = append(members, m)
		}
	}
	return members, nil
}

func (s *setup) member(row row, name string) *member {
	return &member{row: row, replica: name, machine: lifecycle.New(row.lifecycle(s.grace(), rand.Float64))}
}

// replica makes the member that runs at p.
func (s *setup) replica(row row, p *place) (*member, error) {
	name := tier.Name(row.name)
	m := s.member(row, replica(name, p.index))
	m.release = s.releases[name]
	spec := child.Spec{
		Path: m.release.program(name), Args: s.live.Load().Arguments(name, s.given(name, m.replica)),
		Env:   child.WithAttributes(s.environ, "triptych.tier="+row.name+",triptych.replica="+m.replica),
		Files: s.sockets.files(name, p), Log: s.log(row.name, m.replica),
	}
	spec, err := s.asOwn(row.name, spec)
	if err != nil {
		return nil, err
	}
	m.launch = renewed(s.apart.folders[row.name], s.confined(name, m.replica, spec))
	m.observe = observe.Tier(name, p.handshake.address.String(), s.selfTLS(name))
	return m, nil
}

// selfTLS is for the supervisor's own calls to a tier.
func (s *setup) selfTLS(name tier.Name) *tls.Config {
	return s.papers.self.Client(identity.ServerName(name))
}

func (s *setup) given(name tier.Name, replica string) options.Given {
	g := options.Given{Head: s.head, Wiring: s.dir.Wiring(replica), PKI: s.pki, Advertise: s.advertise.String(), SSHKey: s.sshKey}
	if s.advertise.IsLoopback() {
		g.Reconciler = noReconciler
	}
	g.Emulate = s.releases[name].emulate
	e := s.mainEtcd(name)
	if own := s.own.Load(); own != nil && name == tier.Extensions {
		e = *own
	}
	g.EtcdServers, g.EtcdCA, g.EtcdClient = e.Servers, e.CAFile, wiring.KeyPair{Cert: e.CertFile, Key: e.KeyFile}
	return g
}

// mainEtcd is how who reaches the etcd of core.
func (s *setup) mainEtcd(who tier.Name) wiring.Etcd {
	if s.embedded() {
		client := s.pki.EtcdClient(who)
		return wiring.Etcd{Servers: []string{"https://" + s.etcdAddress}, CAFile: s.pki.EtcdCA().Cert, CertFile: client.Cert, KeyFile: client.Key}
	}
	o := s.options
	return wiring.Etcd{Servers: o.EtcdServers, CAFile: o.EtcdCAFile, CertFile: o.EtcdCertFile, KeyFile: o.EtcdKeyFile}
}

// etcdPrefix is what keys begin with.
func (s *setup) etcdPrefix() string {
	return cmp.Or(s.options.Forwarded.Last("etcd-prefix"), "/registry")
}

// etcdTLS is for calls to the embedded etcd as the supervisor.
func (s *setup) etcdTLS() *tls.Config { return s.papers.etcd.Client("127.0.0.1") }

func (s *setup) etcd() (launch, watcher, error) {
	server := s.pki.EtcdServer()
	o := etcd.Options{
		DataDir: s.dir.Etcd(), ClientAddress: s.etcdAddress, Lifeline: child.LifelineFD,
		CAFile: s.pki.EtcdCA().Cert, CertFile: server.Cert, KeyFile: server.Key,
		QuotaBytes: s.options.EtcdQuotaBackendBytes,
		LogLevel:   s.options.Logs().Level(),
		Sandbox:    s.options.Sandbox,
	}
	spec := child.Spec{Path: s.executable, Args: append([]string{"etcd"}, o.Args()...), Env: child.WithCPUs(s.environ, s.cpus(Etcd)), Log: s.log(Etcd, Etcd)}
	spec, err := s.asOwn(Etcd, spec)
	if err != nil {
		return nil, nil, err
	}
	return renewed(s.apart.folders[Etcd], forked(s.forker, spec)), observe.Etcd(s.etcdAddress, s.etcdPrefix(), s.etcdTLS()), nil
}
