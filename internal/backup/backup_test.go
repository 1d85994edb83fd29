package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"triptych.dev/triptych/internal/etcd"
)

func nobody(int64, int64) {}

var manifest = Manifest{Format: Format, Taken: time.Unix(1, 2).UTC(), Version: "v", Host: "h", Etcd: etcd.Database{Revision: 3, Keys: 4, Bytes: 5}}

func files(t *testing.T) []File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("all that is stored "), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	return []File{{Name: MainName, Path: path}, {Name: "pki/ca.key", Data: []byte("secret")}, {Name: "config/supervisor.yaml", Data: []byte("dataDir: " + DataDir)}}
}

// secret writes a file that its owner alone may read.
func secret(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, seal Seal) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "s.tar")
	if err := Write(to, manifest, files(t), seal, nobody); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Dir(to))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it is left %v %v", entries, err)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	return to
}

func TestWhatWasWrittenIsReadOpenOrSealed(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seal        Seal
		keys, wrong Keys
	}{
		"open":      {},
		"recipient": {Seal{RecipientsFile: secret(t, "# mine\n"+identity.Recipient().String()+"\n")}, Keys{IdentityFile: secret(t, identity.String())}, Keys{IdentityFile: secret(t, other.String())}},
		"passphrase": {Seal{PassphraseFile: secret(t, "open sesame\nignored")}, Keys{PassphraseFile: secret(t, "open sesame\r\n")},
			Keys{PassphraseFile: secret(t, "open says me")}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.seal)
			m, err := Verify(path, c.keys, nobody)
			if err != nil || m != manifest {
				t.Errorf("%+v %v", m, err)
			}
			to := t.TempDir()
			if _, err := Extract(path, c.keys, to, nobody); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(filepath.Join(to, "pki", "ca.key")); string(got) != "secret" {
				t.Errorf("%q %v", got, err)
			}
			data, _ := os.ReadFile(path)
			if c.seal.On() == bytes.Contains(data, []byte("secret")) {
				t.Errorf("sealed: %v, and the secret can be read: %v", c.seal.On(), !c.seal.On())
			}
			if !c.seal.On() {
				return
			}
			if _, err := Verify(path, c.wrong, nobody); err == nil || !strings.Contains(err.Error(), "another key") {
				t.Errorf("with a wrong key: %v", err)
			}
			if _, err := Verify(path, Keys{}, nobody); err == nil || !strings.Contains(err.Error(), "give --identity-file or --passphrase-file") {
				t.Errorf("without a key: %v", err)
			}
		})
	}
}

func TestWhatIsCutShortOrChangedIsRefused(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keys := Keys{IdentityFile: secret(t, identity.String())}
	for name, seal := range map[string]Seal{"open": {}, "sealed": {RecipientsFile: secret(t, identity.Recipient().String())}} {
		t.Run(name, func(t *testing.T) {
			whole, err := os.ReadFile(write(t, seal))
			if err != nil {
				t.Fatal(err)
			}
			// What follows the end of the archive is padding, which nothing depends on.
			end := len(whole)
			if !seal.On() {
				end = bytes.LastIndex(whole, []byte("config/supervisor.yaml\n"))
			}
			for at := 0; at < end; at += 1 + end/100 {
				if err := verifyBytes(t, whole[:at], keys); err == nil {
					t.Errorf("cut at %d of %d: no error", at, len(whole))
				}
				changed := bytes.Clone(whole)
				changed[at] ^= 1
				err := verifyBytes(t, changed, keys)
				if inHeader := !seal.On() && headerSlack(whole, at); err == nil && !inHeader {
					t.Errorf("changed at %d of %d: no error", at, len(whole))
				}
			}
			if err := verifyBytes(t, whole, keys); err != nil {
				t.Error(err)
			}
		})
	}
}

// headerSlack tells whether the byte belongs to the padding behind a file or to a header of
// tar: times and owners are nobody's data.
func headerSlack(whole []byte, at int) bool {
	block := whole[at/512*512 : at/512*512+512]
	return bytes.Contains(block, []byte("ustar")) || bytes.Contains(block, []byte("mtime=")) || bytes.HasSuffix(block, []byte{0})
}

func verifyBytes(t *testing.T, data []byte, keys Keys) error {
	t.Helper()
	_, err := readArchive(bytes.NewReader(data), keys, func(string, os.FileMode, io.Reader) error { return nil })
	return err
}

func TestADamagedFileIsNamed(t *testing.T) {
	path := write(t, Seal{})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("all that is stored"))
	data[at] ^= 1
	damaged := (*DamagedError)(nil)
	if err := verifyBytes(t, data, Keys{}); !errors.As(err, &damaged) || !strings.Contains(err.Error(), MainName+" does not have the hash") {
		t.Error(err)
	}
	if err := verifyBytes(t, []byte("something else"), Keys{}); err == nil {
		t.Error("something else was taken for a snapshot")
	}
}

// What the disk does not return as it was written is no snapshot, and nothing of it stays.
func TestASnapshotIsReadBackFromTheDisk(t *testing.T) {
	folder := t.TempDir()
	changed := false
	err := Write(filepath.Join(folder, "s.tar"), manifest, files(t), Seal{}, func(done, _ int64) {
		parts, _ := filepath.Glob(filepath.Join(folder, ".s.tar.part-*"))
		if changed || done < 20000 || len(parts) != 1 {
			return
		}
		file, err := os.OpenFile(parts[0], os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte("else"), 10000); err != nil {
			t.Error(err)
		}
		changed = true
	})
	if err == nil || !changed || !strings.Contains(err.Error(), "the disk returns something else than was written") {
		t.Errorf("changed: %v, %v", changed, err)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("it has left %v", left)
	}
}

func TestNothingIsOverwrittenAndSecretsAreTheOwnersAlone(t *testing.T) {
	path := write(t, Seal{})
	if err := Write(path, manifest, files(t), Seal{}, nobody); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}
	open := secret(t, "word")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (Seal{PassphraseFile: open}).Check(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	for _, seal := range []Seal{{PassphraseFile: secret(t, "\n")}, {RecipientsFile: secret(t, "nonsense")}, {RecipientsFile: "/does/not/exist"}, {PassphraseFile: open, RecipientsFile: open}} {
		if seal.Check() == nil {
			t.Errorf("%+v was taken", seal)
		}
	}
}

func TestWhatDoesNotFitOnADiskIsToldBefore(t *testing.T) {
	if err := checkRoom(map[string]int64{t.TempDir(): 1 << 60}); err == nil || !strings.Contains(err.Error(), "MiB free") {
		t.Error(err)
	}
	if err := checkRoom(map[string]int64{t.TempDir(): 1}); err != nil {
		t.Error(err)
	}
}

func TestProgressComesToItsEnd(t *testing.T) {
	to := filepath.Join(t.TempDir(), "s.tar")
	var last string
	if err := Write(to, manifest, files(t), Seal{}, func(done, total int64) { last = fmt.Sprint(done == total, done > 0) }); err != nil || last != "true true" {
		t.Errorf("%s %v", last, err)
	}
	if _, err := Verify(to, Keys{}, func(done, total int64) { last = fmt.Sprint(done == total, done) }); err != nil || !strings.HasPrefix(last, "true") {
		t.Errorf("%s %v", last, err)
	}
}
