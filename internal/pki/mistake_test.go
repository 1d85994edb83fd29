package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMistakesInTheFolder(t *testing.T) {
	other := newFixture(t)
	other.ensure()
	for name, tc := range map[string]struct {
		make func(f *fixture)
		want []string
	}{
		"garbage CA": {func(f *fixture) { f.write(f.pki("ca.crt"), "garbage") },
			[]string{"ca.crt holds no valid certificate", "put a PEM certificate there"}},
		"garbage CA key": {func(f *fixture) { f.write(f.pki("ca.key"), "garbage") },
			[]string{"ca.key holds no valid private key", "not encrypted"}},
		"key of another CA": {func(f *fixture) { f.copy(other, "ca.key") },
			[]string{"ca.key does not belong to", "ca.crt", "put the key of that certificate there"}},
		"a leaf for a CA": {func(f *fixture) {
			f.write(f.pki("ca.crt"), f.bytes(f.pki("apiserver.crt")))
			f.write(f.pki("ca.key"), f.bytes(f.pki("apiserver.key")))
		}, []string{"ca.crt is not the certificate of a CA"}},
		"garbage leaf":     {func(f *fixture) { f.write(f.pki("apiserver.crt"), "") }, []string{"apiserver.crt holds no valid certificate"}},
		"garbage leaf key": {func(f *fixture) { f.write(f.pki("apiserver.key"), "x") }, []string{"apiserver.key holds no valid private key"}},
		"key of another leaf": {func(f *fixture) { f.copy(other, "apiserver.key") },
			[]string{"apiserver.key does not belong to", "remove both files"}},
		"leaf without a key": {func(f *fixture) { f.remove("etcd/server.key") },
			[]string{"etcd/server.key is missing", "remove the certificate to have both made"}},
		"folder in place of a file": {func(f *fixture) {
			f.remove("front-proxy-ca.crt")
			_ = os.Mkdir(f.pki("front-proxy-ca.crt"), 0o700)
		}, []string{"front-proxy-ca.crt", "is a directory", "put a PEM file in its place"}},
		"public key of other tokens": {func(f *fixture) { f.copy(other, "sa.pub") },
			[]string{"sa.pub does not verify what", "sa.key", "every token would be refused"}},
		"token key lost": {func(f *fixture) { f.remove("sa.key") }, []string{"sa.key is missing", "tokens that were issued become invalid"}},
		"garbage sa.key": {func(f *fixture) { f.write(f.pki("sa.key"), "x") }, []string{"sa.key holds no valid private key"}},
		"garbage sa.pub": {func(f *fixture) { f.write(f.pki("sa.pub"), "x") }, []string{"sa.pub holds no valid public key"}},
		"external, missing": {func(f *fixture) { f.remove("ca.key", "apiserver.crt") },
			[]string{"apiserver.crt is missing and cannot be made without", "ca.key", "server authentication", "DNS:kubernetes.default.svc", "IP:10.96.0.1"}},
		"external, expired": {func(f *fixture) { f.remove("ca.key"); f.now = birth.Add(leafLifetime) },
			[]string{"cannot be used: it expired on 2027-07-01", "have it signed again"}},
		"external, of another": {func(f *fixture) { f.remove("ca.key"); f.copy(other, "apiserver.crt", "apiserver.key") },
			[]string{"apiserver.crt cannot be used: it was not signed by"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.ensure()
			tc.make(f)
			before := f.snapshot()
			f.refused(tc.want...)
			for path, content := range before {
				if f.bytes(path) != content {
					t.Errorf("%s was changed", path)
				}
			}
		})
	}
}

func TestAnUnreadableKeyNamesTheUser(t *testing.T) {
	err := unreadable(&os.PathError{Op: "open", Path: "/d/ca.key", Err: os.ErrPermission})
	if !strings.Contains(err.Error(), "cannot open /d/ca.key: permission denied: make it readable for user") {
		t.Error(err)
	}
}

func TestAKeyThatOthersCanReadIsAWarning(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	if err := os.Chmod(f.CA().Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := f.ensure(); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "chmod 600 "+f.CA().Key) {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestAnExternalCAIsEnoughWithItsLeaves(t *testing.T) {
	f := newFixture(t)
	f.ensure()
	f.remove("ca.key")
	if r := f.ensure(); len(r.Lines()) != 0 {
		t.Errorf("report %q", r.Lines())
	}
	f.now = birth.Add(leafLifetime - day)
	r := f.ensure()
	if !strings.Contains(strings.Join(r.Warnings, "\n"), f.APIServer().Cert+" should be signed again by its CA") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

func TestTheUsersOwnCASigns(t *testing.T) {
	user, f := newFixture(t), newFixture(t)
	user.ensure()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := selfSign("the user's", rsaKey, birth)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{writeCert(f.CA().Cert, ca), writeKey(f.CA().Key, rsaKey), writeKey(f.ServiceAccountKey(), ecKey)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := f.bytes(f.CA().Cert)
	f.ensure()
	if f.bytes(f.CA().Cert) != before {
		t.Error("the user's CA was overwritten")
	}
	if err := f.cert(f.APIServer().Cert).CheckSignatureFrom(ca); err != nil {
		t.Error(err)
	}
	if keys, err := readPublicKeys(f.ServiceAccountPub()); err != nil || !sameKey(keys[0], ecKey.Public()) {
		t.Errorf("sa.pub does not belong to the user's sa.key: %v", err)
	}
}

func TestTheUsersOwnFiles(t *testing.T) {
	user := newFixture(t)
	user.ensure()
	serving := func(f *fixture) { f.TLSCertFile, f.TLSKeyFile = user.APIServer().Cert, user.APIServer().Key }
	tokens := func(f *fixture) {
		f.ServiceAccountKeyFiles, f.ServiceAccountSigningKeyFile = []string{user.ServiceAccountPub()}, user.ServiceAccountKey()
	}
	pair := func(f *fixture) {
		client := user.KubeletClient()
		f.Pairs = []GivenPair{{"kubelet-client-certificate", client.Cert, "kubelet-client-key", client.Key}}
	}
	cas := func(f *fixture) { f.CAs = []GivenCAs{{Flag: "etcd-cafile", File: user.EtcdCA().Cert}} }
	for name, tc := range map[string]struct {
		make func(f *fixture)
		// missing are files that are not made, refused is what the error says,
		// warned what the warning says.
		missing, refused, warned []string
	}{
		"serving": {make: serving, missing: []string{"apiserver.crt", "apiserver.key"}},
		"serving, soon expired": {make: func(f *fixture) { serving(f); f.now = birth.Add(leafLifetime - day) },
			warned: []string{"apiserver.crt expires on 2027-07-01"}},
		"serving, expired": {make: func(f *fixture) { serving(f); f.now = birth.Add(leafLifetime + day) },
			refused: []string{"apiserver.crt expired on 2027-07-01", "give --tls-cert-file a valid certificate"}},
		"serving, not begun": {make: func(f *fixture) { serving(f); f.now = birth.Add(-day) },
			refused: []string{"apiserver.crt is valid from", "set the clock"}},
		"serving, wrong key": {make: func(f *fixture) { serving(f); f.TLSKeyFile = user.KubeletClient().Key },
			refused: []string{"does not belong to"}},
		"serving, no key": {make: func(f *fixture) { serving(f); f.TLSKeyFile = "" },
			refused: []string{"--tls-private-key-file go together"}},
		"serving, gone": {make: func(f *fixture) { serving(f); f.TLSCertFile += ".gone" },
			refused: []string{"apiserver.crt.gone", "no such file"}},
		"tokens": {make: tokens, missing: []string{"sa.key", "sa.pub"}},
		"tokens, no signing key": {make: func(f *fixture) { tokens(f); f.ServiceAccountSigningKeyFile = "" },
			refused: []string{"--service-account-signing-key-file go together"}},
		"tokens, wrong key": {make: func(f *fixture) { tokens(f); f.ServiceAccountSigningKeyFile = user.CA().Key },
			refused: []string{"every token would be refused"}},
		"tokens, the signer's is not the last": {make: func(f *fixture) {
			tokens(f)
			f.ServiceAccountKeyFiles = append(f.ServiceAccountKeyFiles, user.KubeletClient().Key)
		}, missing: []string{"sa.key", "sa.pub"}},
		"pair": {make: pair},
		"pair, expired": {make: func(f *fixture) { pair(f); f.now = birth.Add(leafLifetime + day) },
			refused: []string{"expired on 2027-07-01", "give --kubelet-client-certificate a valid certificate", "set the clock"}},
		"pair, not begun": {make: func(f *fixture) { pair(f); f.now = birth.Add(-day) },
			refused: []string{"is valid from", "set the clock", "--kubelet-client-certificate"}},
		"pair, garbage": {make: func(f *fixture) { pair(f); f.Pairs[0].Cert = user.CA().Key },
			refused: []string{"--kubelet-client-certificate: ", "holds no valid certificate"}},
		"pair, wrong key": {make: func(f *fixture) { pair(f); f.Pairs[0].Key = user.CA().Key },
			refused: []string{"--kubelet-client-key: ", "does not belong to", "give the key of that certificate"}},
		"pair, no key": {make: func(f *fixture) { pair(f); f.Pairs[0].Key = "" },
			refused: []string{"--kubelet-client-key go together"}},
		"pair of one flag, both empty": {make: func(f *fixture) { f.Pairs = []GivenPair{{CertFlag: "tls-sni-cert-key", KeyFlag: "tls-sni-cert-key"}} },
			refused: []string{"--tls-sni-cert-key=, does not name two files"}},
		"pair of one flag, no key": {make: func(f *fixture) {
			f.Pairs = []GivenPair{{CertFlag: "tls-sni-cert-key", Cert: "a.crt", KeyFlag: "tls-sni-cert-key"}}
		}, refused: []string{"--tls-sni-cert-key=a.crt, does not name two files"}},
		"CAs":                         {make: cas},
		"CAs, a leaf that is trusted": {make: func(f *fixture) { cas(f); f.CAs[0].File = user.APIServer().Cert }},
		"CAs for clients, a leaf": {make: func(f *fixture) {
			f.CAs = []GivenCAs{{"requestheader-client-ca-file", user.APIServer().Cert, true}}
		}, warned: []string{"holds no CA", "--requestheader-client-ca-file"}},
		"CAs for clients, of version 1": {make: func(f *fixture) {
			f.CAs = []GivenCAs{{"requestheader-client-ca-file", f.pki("v1.crt"), true}}
			f.write(f.pki("v1.crt"), versionOne)
			f.now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		}},
		"CAs, not begun": {make: func(f *fixture) { cas(f); f.now = birth.Add(-day) },
			refused: []string{"is valid from", "set the clock", "--etcd-cafile"}},
		"client CA": {make: func(f *fixture) { f.ClientCAFile = user.CA().Cert },
			warned: []string{"does not trust", "admin.kubeconfig will be refused"}},
		"client CA, expired": {make: func(f *fixture) { f.ClientCAFile = user.CA().Cert; f.now = birth.Add(caLifetime) },
			refused: []string{"holds no CA that is valid now", "--client-ca-file"}},
		"client CA, a leaf": {make: func(f *fixture) { f.ClientCAFile = user.APIServer().Cert },
			warned: []string{"holds no CA", "admin.kubeconfig will be refused"}},
		"client CA, garbage": {make: func(f *fixture) { f.ClientCAFile = user.CA().Key },
			refused: []string{"ca.key holds no valid certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.make(f)
			if tc.refused != nil {
				f.refused(tc.refused...)
				return
			}
			r := f.ensure()
			for _, name := range tc.missing {
				if _, err := os.Stat(f.pki(name)); err == nil {
					t.Errorf("%s was made", name)
				}
			}
			for _, want := range tc.warned {
				if !strings.Contains(strings.Join(r.Warnings, "\n"), want) {
					t.Errorf("%q is not in %q", want, r.Warnings)
				}
			}
			if tc.warned == nil && len(r.Warnings) != 0 {
				t.Errorf("warnings %q", r.Warnings)
			}
		})
	}
}

func TestAClientCAThatHoldsOursIsFine(t *testing.T) {
	f, user := newFixture(t), newFixture(t)
	f.ensure()
	user.ensure()
	f.ClientCAFile = user.pki("bundle.crt")
	f.write(f.ClientCAFile, user.bytes(user.CA().Cert)+f.bytes(f.CA().Cert))
	if r := f.ensure(); len(r.Warnings) != 0 {
		t.Errorf("warnings %q", r.Warnings)
	}
}

// versionOne is a CA as they were made before certificates could say so.
const versionOne = `-----BEGIN CERTIFICATE-----
MIIBJDCBywIUNxGCVO1m83/4KSg3X3OMt5GfF/4wCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJYW4gb2xkIENBMCAXDTI2MTEyNTEyMzAzNVoYDzIxMjYxMTAxMTIzMDM1
WjAUMRIwEAYDVQQDDAlhbiBvbGQgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AATO8x1w2D9eXP0w+h7ThUjrcGDYEARFpkv3feGD9F6yt02m1bEy8CXD5RhFxKfN
blpXtDB3sR+5XY3ZSNhDBaK3MAoGCCqGSM49BAMCA0gAMEUCIAiferJ7DVRf6/wR
ZGFm4zFrA08RE0BtszyzA4eB0FuOAiEAtx5gPcq1uoMgCUBOgaSPg4L6F2Pwt3pu
pQ6PzQxbmcc=
-----END CERTIFICATE-----
`
