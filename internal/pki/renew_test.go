package pki

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLeavesAreRenewedInTime(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	key := f.bytes(f.APIServer().Key)
	f.now = birth.Add(335 * day) // 30 days left, to the second
	for _, r := range f.ensure().Renewed {
		if base := filepath.Dir(r.File); base == f.Options.Dir.PKI() {
			t.Fatalf("renewed with 30 days left: %v", r)
		}
	}
	f.now = f.now.Add(day)
	r := f.ensure()
	leaves := 0
	_ = filepath.WalkDir(f.Options.Dir.PKI(), func(path string, _ os.DirEntry, _ error) error {
		if filepath.Ext(path) == ".crt" && !strings.HasSuffix(path, "ca.crt") {
			leaves++
		}
		return nil
	})
	if len(r.Renewed) != leaves || len(r.Created) != 0 {
		t.Errorf("renewed %d of %d: %v", len(r.Renewed), leaves, r.Lines())
	}
	if c := f.cert(f.APIServer().Cert); !c.NotAfter.Equal(f.now.Add(leafLifetime)) {
		t.Errorf("ends on %s", c.NotAfter)
	}
	if f.bytes(f.APIServer().Key) != key {
		t.Error("the key changed, so a crash in between leaves a pair that does not match")
	}
	f.now = f.now.Add(2 * leafLifetime) // long expired
	if r := f.ensure(); len(r.Renewed) != leaves {
		t.Errorf("renewed %d of %d", len(r.Renewed), leaves)
	}
}

func TestANewHostIsAReasonToRenew(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.Hosts = []string{"new.example.com"}
	r := f.ensure()
	if len(r.Renewed) != 1 || r.Renewed[0].File != f.APIServer().Cert || !strings.Contains(r.Renewed[0].Reason, "new.example.com") {
		t.Errorf("renewed %v", r.Renewed)
	}
	f.Hosts = nil // to lose a host is not
	if r := f.ensure(); len(r.Renewed) != 0 {
		t.Errorf("renewed %v", r.Renewed)
	}
}

// A certificate of before, kubeadm's say, has names that clients use and nobody here knows.
func TestARenewalKeepsTheNamesOfTheSecurePort(t *testing.T) {
	f := newFixture(t)
	f.Hosts = []string{"lb.example.com", "10.9.8.7"}
	f.ensure()
	f.Hosts = []string{"new.example.com"}
	f.ensure()
	c := f.cert(f.APIServer().Cert)
	for _, name := range []string{"lb.example.com", "10.9.8.7", "new.example.com"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestAnotherIdentityIsAReasonToRenew(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.write(f.pki("internal/extensions-self.crt"), f.bytes(f.pki("internal/core-delegation.crt")))
	f.write(f.pki("internal/extensions-self.key"), f.bytes(f.pki("internal/core-delegation.key")))
	r := f.ensure()
	if len(r.Renewed) != 1 || !strings.Contains(r.Renewed[0].Reason, "another peer") {
		t.Errorf("renewed %v", r.Renewed)
	}
}

func TestANewCAResignsItsLeavesAndKeepsTheOldOnes(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.ensure()
	other.ensure()
	old := f.bytes(f.APIServer().Cert)
	f.copy(other, "ca.crt", "ca.key")
	r := f.ensure()
	if len(r.Renewed) != 2 {
		t.Fatalf("renewed %v", r.Renewed)
	}
	if f.bytes(f.APIServer().Cert+keptSuffix) != old {
		t.Error("the old certificate was not kept")
	}
	if r := f.ensure(); len(r.Lines()) != 0 {
		t.Errorf("report: %q", r.Lines())
	}
}

// Old and new CA in one file: what the old one signed is still good.
func TestABundleIsARotation(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	f.ensure()
	other.ensure()
	old := f.bytes(f.CA().Cert)
	f.copy(other, "ca.crt", "ca.key")
	f.write(f.CA().Cert, old+f.bytes(f.CA().Cert))
	if r := f.ensure(); len(r.Renewed) != 0 {
		t.Errorf("renewed %v", r.Renewed)
	}
	f.remove("apiserver.crt")
	f.ensure()
	if err := f.cert(f.APIServer().Cert).CheckSignatureFrom(other.cert(other.CA().Cert)); err != nil {
		t.Errorf("not signed by the CA whose key is there: %v", err)
	}
}

func TestEndOfACA(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.now = birth.Add(caLifetime - 20*day)
	r := f.ensure()
	if !strings.Contains(strings.Join(r.Warnings, "\n"), f.CA().Cert+" expires on 2036-06-28 12:00:00 UTC") {
		t.Errorf("warnings %q", r.Warnings)
	}
	if c := f.cert(f.APIServer().Cert); c.NotAfter.After(f.cert(f.CA().Cert).NotAfter) {
		t.Error("a leaf outlives its CA")
	}
	if r := f.ensure(); len(r.Renewed) != 0 {
		t.Errorf("renewed again to no avail: %v", r.Renewed)
	}
	f.now = birth.Add(caLifetime)
	f.refused(f.CA().Cert, "expired on 2036-06-28", "put a new CA")
}

func TestAClockThatIsWrong(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.now = birth.Add(-backdate) // within what is allowed for
	f.ensure()
	f.now = birth.Add(-day)
	f.refused(f.CA().Cert, "the clock says 2026-06-30 12:00:00 UTC", "set the clock")
}
