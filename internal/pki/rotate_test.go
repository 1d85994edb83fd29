package pki

import (
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
)

func (f *fixture) signedBy(leaf, ca string) bool {
	f.Helper()
	return f.cert(f.pki(leaf+".crt")).CheckSignatureFrom(f.cert(f.pki(ca+".crt"))) == nil
}

// What processes show to one another gets another key each time. etcd and its clients read both files at each handshake,
// so theirs stay.
func TestShortLivedLeavesAreRenewedWithAThirdLeft(t *testing.T) {
	f := newFixture(t)
	f.Validity = time.Hour
	r := f.ensure()
	if !r.Due.Equal(birth.Add(40 * time.Minute)) {
		t.Fatalf("due at %s", r.Due)
	}
	internal, etcd, public := f.bytes(f.pki("internal/core-self.key")), f.bytes(f.pki("etcd/core-client.key")), f.bytes(f.APIServer().Cert)
	f.now = birth.Add(40*time.Minute + time.Second)
	again, err := Renew(f.Options, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !again.Due.Equal(f.now.Truncate(time.Second).Add(40 * time.Minute)) {
		t.Errorf("due again at %s", again.Due)
	}
	for _, name := range []string{"internal/core-self", "internal/core-serving", "etcd/core-client", "etcd/server"} {
		c := f.cert(f.pki(name + ".crt"))
		if !c.NotAfter.Equal(f.now.Truncate(time.Second).Add(time.Hour)) || c.NotBefore.Before(f.now.Add(-10*time.Minute)) {
			t.Errorf("%s: from %s to %s", name, c.NotBefore, c.NotAfter)
		}
	}
	if f.bytes(f.pki("internal/core-self.key")) == internal {
		t.Error("the internal key stayed")
	}
	if f.bytes(f.pki("etcd/core-client.key")) != etcd {
		t.Error("the key for etcd changed")
	}
	if f.bytes(f.APIServer().Cert) != public {
		t.Error("the secure port's certificate changed")
	}
	forced, err := Renew(f.Options, func(name string) bool { return name == "apiserver" })
	if err != nil || len(forced.Renewed) != 1 || f.bytes(f.APIServer().Cert) == public {
		t.Errorf("asked for one, renewed %v, %v", forced, err)
	}
}

func TestLeavesOfAYearBecomeShortLived(t *testing.T) {
	f := newFixture(t)
	f.Validity = 365 * day
	f.ensure()
	f.Validity = time.Hour
	f.ensure()
	if c := f.cert(f.pki("internal/core-self.crt")); c.NotAfter.After(birth.Add(time.Hour)) {
		t.Errorf("ends on %s", c.NotAfter)
	}
}

func TestTheInternalCAIsReplacedInSteps(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	old, oldKey := f.bytes(f.pki("internal/ca.crt")), f.bytes(f.pki("internal/ca.key"))
	leafKey, public := f.bytes(f.pki("internal/core-self.key")), f.bytes(f.CA().Cert)
	step := func(s Step) {
		t.Helper()
		for range 2 { // once more is no more
			if _, err := Rotate(f.Options, s); err != nil {
				t.Fatal(err)
			}
			if s == Drop {
				return
			}
		}
	}
	for _, early := range []Step{Sign, Drop} {
		if _, err := Rotate(f.Options, early); err == nil || !strings.Contains(err.Error(), "trust") {
			t.Errorf("%s at first: %v", early, err)
		}
	}
	step(Trust)
	if !f.signedBy("internal/core-self", "internal/ca") || f.bytes(f.pki("internal/ca.key")) != oldKey {
		t.Error("trusting the next CA has changed who signs")
	}
	if _, err := Rotate(f.Options, Drop); err == nil || !strings.Contains(err.Error(), "sign") {
		t.Errorf("drop before sign: %v", err)
	}
	step(Sign)
	if f.signedBy("internal/core-self", "internal/ca") || !f.signedBy("internal/core-self", "internal/next-ca") {
		t.Error("leaves are not signed by the next CA")
	}
	if f.bytes(f.pki("internal/core-self.key")) == leafKey {
		t.Error("the key of a leaf stayed")
	}
	if !strings.HasPrefix(f.bytes(f.pki("internal/ca.crt")), old) {
		t.Error("the old CA is not trusted any more")
	}
	step(Drop)
	if strings.Contains(f.bytes(f.pki("internal/ca.crt")), old) || !f.signedBy("internal/core-self", "internal/ca") || f.bytes(f.CA().Cert) != public {
		t.Error("the old CA is trusted, or another one was replaced")
	}
	if s, err := NextStep(f.Options.Dir); s != "" || err != nil {
		t.Errorf("%q comes next, %v", s, err)
	}
	if r := f.ensure(); len(r.Lines()) != 0 {
		t.Errorf("a start after it: %q", r.Lines())
	}
}

// Killed behind any write, the next start ends the rotation, and what it leaves is whole.
func TestARotationThatIsCutShortIsEndedAtTheStart(t *testing.T) {
	for name, until := range map[string]func(*fixture) error{
		"a key of the next CA": func(f *fixture) error {
			key, err := newKey()
			return errors.Join(err, writeKey(f.pki("internal/next-ca.key"), key))
		},
		"a next CA": func(f *fixture) error {
			_, err := Rotate(f.Options, Trust)
			return errors.Join(err, os.WriteFile(f.pki("internal/ca.crt"), []byte(f.old), 0o644))
		},
		"both trusted": func(f *fixture) error { _, err := Rotate(f.Options, Trust); return err },
		"the next key signs": func(f *fixture) error {
			_, err := Rotate(f.Options, Trust)
			return errors.Join(err, os.WriteFile(f.pki("internal/ca.key"), []byte(f.bytes(f.pki("internal/next-ca.key"))), 0o600))
		},
		"leaves signed": func(f *fixture) error {
			_, err := Rotate(f.Options, Trust)
			_, again := Rotate(f.Options, Sign)
			return errors.Join(err, again)
		},
		"a leaf between key and certificate": func(f *fixture) error {
			_, err := Rotate(f.Options, Trust)
			return errors.Join(err, os.Remove(f.pki("internal/core-self.crt")))
		},
		"the key of the next CA removed": func(f *fixture) error {
			_, err := Rotate(f.Options, Trust)
			_, again := Rotate(f.Options, Sign)
			return errors.Join(err, again, os.Remove(f.pki("internal/next-ca.key")))
		},
	} {
		f := newFixture(t)
		f.ensure()
		f.old = f.bytes(f.pki("internal/ca.crt"))
		if err := until(f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.ensure()
		if s, err := NextStep(f.Options.Dir); s != "" || err != nil {
			t.Errorf("%s: %q comes next, %v", name, s, err)
		}
		if !f.signedBy("internal/core-self", "internal/ca") {
			t.Errorf("%s: the leaves are not of the CA", name)
		}
		if strings.Contains(f.bytes(f.pki("internal/ca.crt")), f.old) != (name == "a key of the next CA") {
			t.Errorf("%s: the old CA is trusted, or was dropped before another one was", name)
		}
		if r := f.ensure(); len(r.Lines()) != 0 {
			t.Errorf("%s: the start after the next: %q", name, r.Lines())
		}
	}
}

func TestWithOtherHostsTheStartGoesNoStepFurther(t *testing.T) {
	f := newFixture(t)
	f.Elsewhere = true
	f.ensure()
	if _, err := Rotate(f.Options, Trust); err != nil {
		t.Fatal(err)
	}
	before := f.bytes(f.pki("internal/ca.crt"))
	r := f.ensure()
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "--step sign") || f.bytes(f.pki("internal/ca.crt")) != before {
		t.Errorf("report: %q", r.Lines())
	}
}

func TestACAWhoseKeyIsElsewhereIsNotReplaced(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.remove("internal/ca.key")
	if _, err := Rotate(f.Options, Trust); err == nil || !strings.Contains(err.Error(), "replace it where it is kept") {
		t.Errorf("got %v", err)
	}
}

func TestListNamesAll(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	all, err := List(f.Options)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Certificate{}
	for _, c := range all {
		if c.For == "" || c.NotAfter.IsZero() || c.Problem != "" {
			t.Errorf("%+v", c)
		}
		found[c.Name] = c
	}
	self := found["internal/core-self"]
	if self.Renewed == nil || !self.Renewed.Equal(birth.Add(16*time.Hour)) || len(self.SANs) != 1 || self.SANs[0] != "URI:triptych://core/self" {
		t.Errorf("%+v", self)
	}
	if ca := found["internal/ca"]; !ca.CA || ca.Renewed != nil {
		t.Errorf("%+v", ca)
	}
	f.now = birth.Add(2 * day)
	all, _ = List(f.Options)
	for _, c := range all {
		if c.Name == "internal/core-self" && !strings.Contains(c.Problem, "certs renew internal/core-self") {
			t.Errorf("expired: %+v", c)
		}
	}
}

func TestAKubeconfigForAUser(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	if err := WriteAdminKubeconfig(f.Options, "https://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	data, err := UserKubeconfig(f.Options.Dir, "jane", []string{"dev"}, time.Hour, birth)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := certutil.ParseCertsPEM(config.AuthInfos["jane"].ClientCertificateData)
	if err != nil {
		t.Fatal(err)
	}
	cert := certs[0]
	if cert.Subject.CommonName != "jane" || cert.Subject.Organization[0] != "dev" || !cert.NotAfter.Equal(birth.Add(time.Hour)) ||
		cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("%+v", cert.Subject)
	}
	f.remove("ca.key")
	if _, err := UserKubeconfig(f.Options.Dir, "jane", nil, time.Hour, birth); err == nil || !strings.Contains(err.Error(), "ca.key is not here") {
		t.Errorf("got %v", err)
	}
}
