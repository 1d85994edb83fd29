package pki

import (
	"crypto"
	"fmt"
	"slices"
)

// ensureServiceAccount makes sa.key and sa.pub unless the user brings both.
func (e *ensurer) ensureServiceAccount() error {
	if e.ServiceAccountKeyFile != "" || e.ServiceAccountSigningKeyFile != "" {
		return e.checkUsersServiceAccount()
	}
	keyFile, pubFile := e.paths.ServiceAccountKey(), e.paths.ServiceAccountPub()
	haveKey, err := exists(keyFile)
	if err != nil {
		return err
	}
	havePub, err := exists(pubFile)
	if err != nil {
		return err
	}
	if havePub && !haveKey {
		return fmt.Errorf("%s is missing, the key of %s: put it there, or remove the latter to have both made; "+
			"tokens that were issued become invalid then", keyFile, pubFile)
	}
	key, err := e.ensureKey(keyFile, haveKey)
	if err != nil {
		return err
	}
	if havePub {
		return checkVerifies(pubFile, keyFile, key)
	}
	e.report.Created = append(e.report.Created, pubFile)
	return writePublicKey(pubFile, key.Public())
}

// checkVerifies finds tokens that nobody would accept. A public file may hold
// more keys: those of tokens that were issued before.
func checkVerifies(pubFile, keyFile string, key crypto.Signer) error {
	keys, err := readPublicKeys(pubFile)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k any) bool { return sameKey(k, key.Public()) }) {
		return fmt.Errorf("%s does not verify what %s signs, so every token would be refused: "+
			"add the public half of that key to it", pubFile, keyFile)
	}
	return nil
}
