package supportbundle

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const key = `-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIPLANTEDPLANTEDPLANTEDPLANTEDPLANTEDPLANTEDoAoGCCqGSM49
AwEHoUQDQgAEPLANTEDPLANTEDPLANTEDPLANTEDPLANTEDPLANTEDPLANTED==
-----END EC PRIVATE KEY-----
`

func TestWhatLooksLikeASecretIsTakenOut(t *testing.T) {
	r := newRedactor(nil)
	for name, text := range map[string]string{
		"a key":              "before\n" + key + "after",
		"one in a log":       `msg="cannot parse" data="` + strings.ReplaceAll(key, "\n", `\n`) + `"`,
		"one cut off":        key[:90],
		"one in base64":      "client-key-data: " + base64.StdEncoding.EncodeToString([]byte(key)),
		"a service account":  "token eyJhbGciOiJSUzI1NiIsImtpZCI6IlBMQU5URUQifQ.eyJpc3MiOiJQTEFOVEVEUExBTlRFRCJ9.PLANTED-PLANTED_PLANTED",
		"a header":           "Authorization: Bearer PLANTEDPLANTED",
		"a header of basic":  "authorization: basic UExBTlRFRDpQTEFOVEVE",
		"an etcd's":          "--etcd-servers=https://root:PLANTED@127.0.0.1:2379",
		"a field":            `{"clientSecret": "PLANTED of two words"}`,
		"a flag":             "--oidc-password=PLANTED",
		"a field of YAML":    "  bindPassword: PLANTED",
		"a token of join":    "triptych-join.eyJhZGRyZXNzIjoiUExBTlRFRFBMQU5URURQTEFOVEVEIn0",
		"a token of kubeadm": "using 07401b.plantedplantedpl now",
	} {
		t.Run(name, func(t *testing.T) {
			got := string(r.Redact([]byte(text)))
			for _, planted := range []string{"PLANTED", "UExBTlRFR", "UEExBTlRF", "planted", "eyJ", "LS0t"} {
				if strings.Contains(got, planted) {
					t.Errorf("%s is left in %q", planted, got)
				}
			}
			if !strings.Contains(got, redacted) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	r := newRedactor([]string{"short", "ab"})
	for _, text := range []string{
		"--token-auth-file=/etc/triptych/tokens.csv", "--service-account-key-file=/etc/triptych/pki/sa.pub",
		`apiserver_storage_objects{resource="secrets"} 12`, "https://127.0.0.1:6443/api/v1/namespaces",
		"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", `"Serving" tier="core" address="127.0.0.1:7100"`,
		"tls-private-key-file: /etc/triptych/tls.key", "a short word, and abc",
	} {
		if got := string(r.Redact([]byte(text))); got != text {
			t.Errorf("%q has become %q", text, got)
		}
	}
}

func TestKnownSecretsAreTakenOutWhereverTheyAre(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ca.key", key)
	write("tokens.csv", `plain-token,user,1,"group"`+"\n"+"another,user,2\n")
	write("encryption.yaml", "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - aescbc:\n      keys:\n      - {name: one, secret: c29tZXRoaW5nc2VjcmV0}\n")
	write("webhook.kubeconfig", "users:\n- name: x\n  user: {token: of-the-webhook, password: hunter2222, client-key: "+dir+"/nested.pem}\n")
	write("nested.pem", strings.ReplaceAll(key, "PLANTED", "NESTED"))
	write("one.csv", "alone-in-its-file,someone,1\n")
	write("bare", "0123456789abcdef-of-a-file\n")
	line := "--token-auth-file=" + dir + "/tokens.csv\n--encryption-provider-config\n" + dir + "/encryption.yaml\n--authentication-token-webhook-config-file=webhook.kubeconfig\n--bare=bare\n--one=one.csv"
	secrets := append(secretsBelow(dir), secretsNamed(dir, []byte(line))...)
	r := newRedactor(secrets)
	for _, secret := range []string{"plain-token", "another", "alone-in-its-file", "c29tZXRoaW5nc2VjcmV0", "of-the-webhook", "hunter2222", "0123456789abcdef-of-a-file", strings.Split(key, "\n")[1], strings.Split(strings.ReplaceAll(key, "PLANTED", "NESTED"), "\n")[2]} {
		if !slices.Contains(secrets, secret) {
			t.Errorf("%q is not known", secret)
		}
		if got := string(r.Redact([]byte("before " + secret + " after"))); got != "before "+redacted+" after" {
			t.Errorf("%q", got)
		}
	}
	if slices.Contains(secrets, "EncryptionConfiguration") || slices.Contains(secrets, "one") {
		t.Errorf("%q", secrets)
	}
}
