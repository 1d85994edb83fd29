package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"
)

// ageHeader is what every file of age begins with.
const ageHeader = "age-encryption.org/"

// Seal says who may read a snapshot. The zero value is everybody who has the file.
type Seal struct {
	// RecipientsFile holds public keys of age, one a line.
	RecipientsFile string
	// PassphraseFile holds a passphrase in its first line, and may be read by nobody else.
	PassphraseFile string
}

// On tells whether a snapshot is sealed.
func (s Seal) On() bool { return s != Seal{} }

// recipients are nil where the seal is not on.
func (s Seal) recipients() ([]age.Recipient, error) {
	switch {
	case s.RecipientsFile != "" && s.PassphraseFile != "":
		return nil, errors.New("a passphrase and recipients exclude each other: give one of them")
	case s.RecipientsFile != "":
		file, err := os.Open(s.RecipientsFile)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		all, err := age.ParseRecipients(file)
		if err != nil {
			return nil, fmt.Errorf("%s holds no public keys of age, one a line: %w", s.RecipientsFile, err)
		}
		return all, nil
	case s.PassphraseFile != "":
		passphrase, err := readPassphrase(s.PassphraseFile)
		if err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, err
		}
		return []age.Recipient{r}, nil
	}
	return nil, nil
}

// Check returns why the seal cannot be used, before anything is done.
func (s Seal) Check() error {
	_, err := s.recipients()
	return err
}

// Keys opens sealed snapshots. The zero value opens those that are not.
type Keys struct {
	// IdentityFile holds private keys of age, and PassphraseFile a passphrase in its first
	// line. They may be read by nobody else.
	IdentityFile, PassphraseFile string
}

func (k Keys) identities() ([]age.Identity, error) {
	switch {
	case k.IdentityFile != "" && k.PassphraseFile != "":
		return nil, errors.New("a passphrase and an identity exclude each other: give one of them")
	case k.IdentityFile != "":
		if err := checkSecret(k.IdentityFile); err != nil {
			return nil, err
		}
		file, err := os.Open(k.IdentityFile)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		all, err := age.ParseIdentities(file)
		if err != nil {
			return nil, fmt.Errorf("%s holds no private keys of age: %w", k.IdentityFile, err)
		}
		return all, nil
	case k.PassphraseFile != "":
		passphrase, err := readPassphrase(k.PassphraseFile)
		if err != nil {
			return nil, err
		}
		i, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, err
		}
		return []age.Identity{i}, nil
	}
	return nil, nil
}

// open returns what is in a file, sealed or not.
func (k Keys) open(file io.Reader) (io.Reader, error) {
	all, err := k.identities()
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(file, 1<<16)
	start, _ := buffered.Peek(len(ageHeader))
	if !bytes.Equal(start, []byte(ageHeader)) {
		return buffered, nil
	}
	if all == nil {
		return nil, errors.New("it is encrypted: give --identity-file or --passphrase-file")
	}
	opened, err := age.Decrypt(buffered, all...)
	if none := (*age.NoIdentityMatchError)(nil); errors.As(err, &none) {
		return nil, errors.New("it is encrypted for another key: give the --identity-file or --passphrase-file that belongs to it")
	}
	if err != nil {
		return nil, &DamagedError{"it is damaged or cut short: " + err.Error()}
	}
	return unsealed{opened}, nil
}

// unsealed reads what age opens. age cannot tell a file that was cut short from one that was
// changed, and lets neither pass.
type unsealed struct{ from io.Reader }

func (u unsealed) Read(into []byte) (int, error) {
	n, err := u.from.Read(into)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &DamagedError{"it is damaged or cut short: " + err.Error()}
	}
	return n, err
}

func readPassphrase(path string) (string, error) {
	if err := checkSecret(path); err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty: write a passphrase into its first line", path)
	}
	return line, nil
}

// checkSecret refuses a secret that others may read. What is not a file, such as a pipe
// of the shell, has no mode of its own.
func checkSecret(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&fs.FileMode(0o077) != 0 {
		return fmt.Errorf("%s may be read by others: chmod 600 %s", path, path)
	}
	return nil
}
