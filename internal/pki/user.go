package pki

import (
	"errors"
	"fmt"

	"triptych.dev/triptych/internal/wiring"
)

// checkUsersOwn checks the files that the user's flags name.
func (e *ensurer) checkUsersOwn() error {
	if err := e.checkUsersServing(); err != nil {
		return err
	}
	return e.checkUsersClientCA()
}

func (e *ensurer) checkUsersServing() error {
	if e.TLSCertFile == "" && e.TLSKeyFile == "" {
		return nil
	}
	if e.TLSCertFile == "" || e.TLSKeyFile == "" {
		return errors.New("--tls-cert-file and --tls-private-key-file go together: give both or none")
	}
	chain, _, err := e.loadPair(wiring.KeyPair{Cert: e.TLSCertFile, Key: e.TLSKeyFile})
	if err != nil {
		return err
	}
	if err := e.checkBegun(e.TLSCertFile, chain[0]); err != nil {
		return err
	}
	left := chain[0].NotAfter.Sub(e.time)
	if left <= 0 {
		return fmt.Errorf("%s expired on %s: give --tls-cert-file a valid certificate", e.TLSCertFile, date(chain[0].NotAfter))
	}
	if left < renewBefore {
		e.report.warn("%s expires on %s: renew it before", e.TLSCertFile, date(chain[0].NotAfter))
	}
	return nil
}

// checkUsersClientCA demands one CA that is valid now; a bundle may hold others
// that have ended or not begun.
func (e *ensurer) checkUsersClientCA() error {
	if e.ClientCAFile == "" {
		return nil
	}
	bundle, err := readCerts(e.ClientCAFile)
	if err != nil {
		return err
	}
	for _, c := range bundle {
		if c.IsCA && !e.time.Before(c.NotBefore) && e.time.Before(c.NotAfter) {
			return nil
		}
	}
	if err := e.checkBegun(e.ClientCAFile, bundle[0]); err != nil {
		return err
	}
	return fmt.Errorf("%s holds no CA that is valid now (%s): give --client-ca-file one", e.ClientCAFile, date(e.time))
}

// checkClientCATrustsUs tells the user of clients that we make and that their
// CA will refuse. Adding our CA to theirs unasked would open a door they closed.
func (e *ensurer) checkClientCATrustsUs() error {
	if e.ClientCAFile == "" {
		return nil
	}
	bundle, err := readCerts(e.ClientCAFile)
	if err != nil {
		return err
	}
	own, err := readCerts(e.paths.CA().Cert)
	if err != nil {
		return err
	}
	if !(&authority{bundle: bundle, time: e.time}).signed(own[:1]) {
		e.report.warn("%s does not trust %s, so %s will be refused: append the latter to it, "+
			"or sign a client certificate of group system:masters with your CA",
			e.ClientCAFile, e.paths.CA().Cert, e.Dir.Kubeconfig())
	}
	return nil
}

func (e *ensurer) checkUsersServiceAccount() error {
	if e.ServiceAccountKeyFile == "" || e.ServiceAccountSigningKeyFile == "" {
		return errors.New("--service-account-key-file and --service-account-signing-key-file go together: give both or none")
	}
	key, err := e.loadKey(e.ServiceAccountSigningKeyFile)
	if err != nil {
		return err
	}
	return checkVerifies(e.ServiceAccountKeyFile, e.ServiceAccountSigningKeyFile, key)
}
