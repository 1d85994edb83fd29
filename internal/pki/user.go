package pki

import "errors"

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
	if len(e.ServiceAccountKeyFiles) == 0 || e.ServiceAccountSigningKeyFile == "" {
		return errors.New("--service-account-key-file and --service-account-signing-key-file go together: give both or none")
	}
	key, err := e.loadKey(e.ServiceAccountSigningKeyFile)
	if err != nil {
		return err
	}
	return checkVerifies(e.ServiceAccountKeyFiles, e.ServiceAccountSigningKeyFile, key)
}
