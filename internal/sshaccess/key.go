package sshaccess

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"triptych.dev/triptych/internal/datadir"
)

// comment is behind the public key in files of authorized keys.
const comment = "triptych"

// handed tells whether the file is a copy that root has made for this process' user, whose
// group nobody else is in.
func handed(info os.FileInfo) bool {
	is, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o037 == 0 && is.Uid == 0 && os.Geteuid() != 0 && int(is.Gid) == os.Getegid()
}

// ReadKey returns the key in the file, which must be for its owner alone and
// without a passphrase: nobody is there to type one.
func ReadKey(path string) (ssh.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if others := info.Mode().Perm() & 0o077; others != 0 && !handed(info) {
		return nil, fmt.Errorf("%s is open to others (mode %04o): chmod 600 it, and make a new key if others may have read it", path, info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(content)
	if locked := (*ssh.PassphraseMissingError)(nil); errors.As(err, &locked) {
		return nil, fmt.Errorf("%s is protected by a passphrase, which nobody can type here: give a key without one (ssh-keygen -p)", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key of SSH: %w", path, err)
	}
	return signer, nil
}

// EnsureKey makes an ed25519 key at path, and its public half beside it, unless
// there is one. It tells whether it made one.
func EnsureKey(path string) (made bool, err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return false, err
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return false, err
	}
	if err := datadir.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return false, err
	}
	line, err := AuthorizedKey(path)
	if err != nil {
		return false, err
	}
	return true, datadir.WriteFile(path+".pub", []byte(line+"\n"), 0o644)
}

// Restricted returns the line for the authorized_keys of nodes and bastion: the key
// is good for connections to elsewhere, and for no command.
func Restricted(path string) (string, error) {
	line, err := AuthorizedKey(path)
	if err != nil {
		return "", err
	}
	return `restrict,port-forwarding,command="false" ` + line, nil
}

// AuthorizedKey returns the public key in OpenSSH's format.
func AuthorizedKey(path string) (string, error) {
	signer, err := ReadKey(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " " + comment, nil
}
