package supervisor

import (
	"errors"

	"triptych.dev/triptych/internal/credentials"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// papers are by what the supervisor makes calls of its own.
type papers struct {
	self, delegation *credentials.Credentials
	// etcd is nil with an etcd of the user's.
	etcd *credentials.Credentials
	// metrics are the serving certificate and the CA of clients; nil without a port for metrics.
	metrics *credentials.Credentials
}

func (s *setup) loadPapers() (p papers, err error) {
	mine := s.pki.Internal(identity.Supervisor)
	if p.self, err = pki.Credentials(mine.CA, mine.Self); err != nil {
		return p, err
	}
	if p.delegation, err = pki.Credentials(mine.CA, mine.Delegation); err != nil {
		return p, err
	}
	if s.metrics != nil {
		if p.metrics, err = pki.Credentials(s.pki.CA().Cert, s.pki.APIServer()); err != nil {
			return p, err
		}
	}
	if s.embedded() {
		p.etcd, err = pki.Credentials(s.pki.EtcdCA().Cert, s.pki.EtcdClient(identity.Supervisor))
	}
	return p, err
}

// reload reads all files again.
func (p papers) reload() error {
	var errs []error
	for _, one := range []*credentials.Credentials{p.self, p.delegation, p.etcd, p.metrics} {
		if one != nil {
			_, err := one.Reload()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// internal are the certificates of a tier's processes.
func (s *setup) internal(name tier.Name) wiring.PKI {
	w := s.pki.Internal(name)
	w.Cut = s.cut.Load()
	return w
}

// sharesCA tells whether processes of other hosts trust the internal CA too.
func (s *setup) sharesCA() bool { return len(s.options.TierListen)+len(s.options.TierAt) > 0 }
