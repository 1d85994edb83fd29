package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	certutil "k8s.io/client-go/util/cert"

	"triptych.dev/triptych/internal/datadir"
)

// The internal CA is replaced in steps, each of which leaves files that work. How far it is can be told by them:
//
//	                internal/ca.crt   internal/ca.key   internal/next-ca.*
//	whole           old               old               -
//	Trust           old, next         old               next                whoever shows either is believed
//	Sign            old, next         next              next                leaves are signed by next
//	Drop            next              next              -                   nobody believes old
//
// Between two steps everybody has to have taken up the one before.

// Step is one of the replacement of the internal CA.
type Step string

// The steps, in their order.
const (
	Trust Step = "trust"
	Sign  Step = "sign"
	Drop  Step = "drop"
)

// Steps are all of them.
var Steps = []Step{Trust, Sign, Drop}

// NextStep tells which step of a rotation that has begun comes next, or "" if none has.
func NextStep(dir datadir.Dir) (Step, error) {
	e := &ensurer{paths: Paths{dir}, report: &Report{}}
	return e.nextStep()
}

func (e *ensurer) nextStep() (Step, error) {
	next := e.paths.pair(nextCAName)
	if have, err := exists(next.Cert); err != nil || !have {
		return "", err
	}
	cert, err := readCerts(next.Cert)
	if err != nil {
		return "", err
	}
	bundle, err := readCerts(e.paths.pair(internalCAName).Cert)
	if err != nil {
		return "", err
	}
	if !holds(bundle, cert[0]) {
		return Trust, nil
	}
	key, err := readKey(e.paths.pair(internalCAName).Key)
	switch {
	case err != nil:
		return "", err
	case !sameKey(cert[0].PublicKey, key.Public()):
		return Sign, nil
	}
	return Drop, nil
}

func holds(bundle []*x509.Certificate, c *x509.Certificate) bool {
	for _, one := range bundle {
		if one.Equal(c) {
			return true
		}
	}
	return false
}

// Rotate takes a step of the replacement of the internal CA; a step that is done already is none. With Trust a CA that lies as
// internal/next-ca is taken, for a cluster whose hosts share it, and else one is made. Sign signs all internal leaves anew.
func Rotate(o Options, step Step) (*Report, error) {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, time: o.now(), report: &Report{}}
	if err := e.rotate(step); err != nil {
		return nil, fmt.Errorf("cannot rotate the internal CA: %w", err)
	}
	return e.report, nil
}

func (e *ensurer) rotate(step Step) error {
	files, next := e.paths.pair(internalCAName), e.paths.pair(nextCAName)
	if have, err := exists(files.Key); err != nil {
		return err
	} else if !have {
		return fmt.Errorf("%s is not here, so the CA is yours: replace it where it is kept, in three steps: first have %s hold the old and the new one, "+
			"then have the leaves signed by the new one, then leave out the old one, each followed by `supervisor certs renew --all`", files.Key, files.Cert)
	}
	now, err := e.nextStep()
	if err != nil {
		return err
	}
	switch step {
	case Trust:
		if now == Sign || now == Drop {
			return nil
		}
		return e.trustNext()
	case Sign:
		if now == "" || now == Trust {
			return errors.New("the next CA is not trusted yet: run the step trust first, on every host that shares the CA")
		}
		key, err := os.ReadFile(next.Key)
		defer clear(key)
		if err != nil {
			return unreadable(err)
		}
		if err := datadir.WriteFile(files.Key, key, keyMode); err != nil {
			return err
		}
		return e.ensureAll()
	case Drop:
		if now == "" {
			return errors.New("no rotation has begun: run the step trust first")
		}
		if now != Drop {
			return errors.New("leaves are still signed by the old CA: run the step sign first, on every host that shares the CA")
		}
		return e.dropOld()
	}
	return fmt.Errorf("there is no step %q: want one of %v", step, Steps)
}

func (e *ensurer) trustNext() error {
	files, next := e.paths.pair(internalCAName), e.paths.pair(nextCAName)
	authority, err := e.ensureAuthority(authoritySpec{nextCAName, "triptych-internal-ca"})
	if err != nil {
		return err
	}
	if authority.key == nil {
		return fmt.Errorf("%s is missing, the key of %s: put it there, or remove the certificate to have both made", next.Key, next.Cert)
	}
	bundle, err := readCerts(files.Cert)
	if err != nil {
		return err
	}
	if holds(bundle, authority.cert) {
		return nil
	}
	return writeBundle(files.Cert, append(bundle, authority.cert))
}

// dropOld removes the next CA last: what is left of it tells that the rotation is not over.
func (e *ensurer) dropOld() error {
	files, next := e.paths.pair(internalCAName), e.paths.pair(nextCAName)
	cert, err := readCerts(next.Cert)
	if err != nil {
		return err
	}
	if err := writeBundle(files.Cert, cert[:1]); err != nil {
		return err
	}
	for _, file := range []string{next.Key, next.Cert} {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func writeBundle(path string, all []*x509.Certificate) error {
	data, err := certutil.EncodeCertificates(all...)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, data, certMode)
}

// continueRotation ends at the start what was begun before: no process has seen anything of it yet. Where other hosts trust
// the CA too, they may not be as far.
func (e *ensurer) continueRotation() error {
	next := e.paths.pair(nextCAName)
	step, err := e.nextStep()
	if err != nil {
		return err
	}
	if step == "" {
		// A key without a certificate was never used.
		if err := os.Remove(next.Key); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	if e.Elsewhere {
		e.report.warn("the internal CA is being replaced: run `supervisor certs rotate-ca --step %s` when all hosts are as far", step)
		return nil
	}
	if step == Trust {
		if err := e.trustNext(); err != nil {
			return err
		}
	}
	key, err := os.ReadFile(next.Key)
	defer clear(key)
	if err == nil {
		// The last thing to be removed is the certificate.
		err = datadir.WriteFile(e.paths.pair(internalCAName).Key, key, keyMode)
	} else if step == Drop && os.IsNotExist(err) {
		err = nil
	}
	if err != nil {
		return err
	}
	e.report.Renewed = append(e.report.Renewed, Renewal{e.paths.pair(internalCAName).Cert, "its replacement had begun"})
	return e.dropOld()
}

// Renew renews what is due, and the leaves for which force says so, while processes go on. force may be nil.
func Renew(o Options, force func(name string) bool) (*Report, error) {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, time: o.now(), report: &Report{}, force: force}
	if err := e.ensureAll(); err != nil {
		return nil, fmt.Errorf("cannot renew the certificates: %w", err)
	}
	return e.report, nil
}
