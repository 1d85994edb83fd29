package pki

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
)

// ensureServiceAccount makes sa.key and sa.pub unless the user brings both.
func (e *ensurer) ensureServiceAccount() error {
	if len(e.ServiceAccountKeyFiles) > 0 || e.ServiceAccountSigningKeyFile != "" {
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
		return checkVerifies([]string{pubFile}, keyFile, key)
	}
	e.report.Created = append(e.report.Created, pubFile)
	return writePublicKey(pubFile, key.Public())
}

// checkVerifies finds tokens that nobody would accept. There may be more public
// keys: those of tokens that were issued before.
func checkVerifies(pubFiles []string, keyFile string, key crypto.Signer) error {
	verifies := false
	for _, file := range pubFiles {
		keys, err := readPublicKeys(file)
		if err != nil {
			return err
		}
		verifies = verifies || slices.ContainsFunc(keys, func(k any) bool { return sameKey(k, key.Public()) })
	}
	if !verifies {
		return fmt.Errorf("%s does not verify what %s signs, so every token would be refused: "+
			"add the public half of that key to it", strings.Join(pubFiles, ","), keyFile)
	}
	return nil
}
