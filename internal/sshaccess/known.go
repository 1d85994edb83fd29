package sshaccess

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is a file of host keys. There is no way around it.
type knownHosts struct {
	path  string
	check ssh.HostKeyCallback
	lines []string
}

func readKnownHosts(path string) (*knownHosts, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	check, err := knownhosts.New(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the host keys in %s: %w", path, err)
	}
	return &knownHosts{path: path, check: check, lines: strings.Split(string(content), "\n")}, nil
}

// verify is an ssh.HostKeyCallback.
func (k *knownHosts) verify(address string, remote net.Addr, key ssh.PublicKey) error {
	err := k.check(address, remote, key)
	if mismatch := (*knownhosts.KeyError)(nil); errors.As(err, &mismatch) && len(mismatch.Want) > 0 {
		return &HostKeyError{fmt.Errorf("the host key of %s, %s, is not the one in %s line %d: somebody may be in between",
			address, ssh.FingerprintSHA256(key), k.path, mismatch.Want[0].Line)}
	}
	if err != nil {
		return &HostKeyError{fmt.Errorf("the host key of %s is refused: %w", address, err)}
	}
	return nil
}

// HostKeyError is that a server is not, or may not be, the one that is meant.
type HostKeyError struct{ error }

func (e *HostKeyError) Unwrap() error { return e.error }

// algorithms returns the host key algorithms of those keys that are known for the
// address. A server shows one key, and it must be one that the file has.
func (k *knownHosts) algorithms(address string) ([]string, error) {
	err := k.check(address, &net.TCPAddr{}, nobodys)
	unknown := (*knownhosts.KeyError)(nil)
	if !errors.As(err, &unknown) || len(unknown.Want) == 0 {
		return nil, fmt.Errorf("no host key of %s is in %s: add it, after a look at it, from `ssh-keyscan %s`",
			address, k.path, scanned(address))
	}
	var algorithms []string
	for _, want := range unknown.Want {
		of := ofKey(want.Key.Type())
		if k.isAuthority(want.Line) {
			of = certificates
		}
		for _, algorithm := range of {
			if !slices.Contains(algorithms, algorithm) {
				algorithms = append(algorithms, algorithm)
			}
		}
	}
	return algorithms, nil
}

func (k *knownHosts) isAuthority(line int) bool {
	return line > 0 && line <= len(k.lines) && strings.HasPrefix(strings.TrimSpace(k.lines[line-1]), "@cert-authority")
}

// ofKey are the algorithms by which a key of the type signs.
func ofKey(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// certificates are the algorithms of host keys that an authority has signed.
var certificates = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// nobodys is a key that no host has: asking for it tells which are known.
var nobodys = func() ssh.PublicKey {
	key, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	if err != nil {
		panic(err)
	}
	return key
}()

// scanned are the arguments of ssh-keyscan for the address.
func scanned(address string) string {
	host, port, _ := net.SplitHostPort(address)
	if port == "22" {
		return host
	}
	return "-p " + port + " " + host
}
