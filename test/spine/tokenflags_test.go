package spine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/test/harness"
)

// What the flags that concern tokens name must be there and be right, or it is
// told in one line and nothing goes on running.
func TestBadTokenFilesAreToldInOneLine(t *testing.T) {
	dir := harness.TempDir(t)
	file := func(name, content string) string {
		harness.WriteFile(t, dir+"/"+name, []byte(content), 0o600)
		return dir + "/" + name
	}
	for name, mistake := range map[string]struct {
		args []string
		want string
	}{
		"no token file":         {[]string{"--token-auth-file=/nonexistent.csv"}, "/nonexistent.csv"},
		"token file of nothing": {[]string{"--token-auth-file=" + file("tokens.csv", "alone\n")}, "tokens.csv"},
		"no webhook file":       {[]string{"--authentication-token-webhook-config-file=/nonexistent.kubeconfig"}, "/nonexistent.kubeconfig"},
		"webhook file of junk":  {[]string{"--authentication-token-webhook-config-file=" + file("webhook.kubeconfig", "]junk[")}, "yaml"},
		"no CA of the issuer": {[]string{"--oidc-issuer-url=https://127.0.0.1:1", "--oidc-client-id=c", "--oidc-ca-file=/nonexistent.crt"},
			"/nonexistent.crt"},
		"issuer without a client": {[]string{"--oidc-issuer-url=https://127.0.0.1:1"}, "oidc-client-id"},
		"no configuration":        {[]string{"--authentication-config=/nonexistent.yaml"}, "/nonexistent.yaml"},
		"configuration of junk":   {[]string{"--authentication-config=" + file("junk.yaml", "kind: Junk\napiVersion: v1\n")}, "junk.yaml"},
		"no key of tokens": {[]string{"--service-account-key-file=/nonexistent.pub", "--service-account-signing-key-file=/nonexistent.key"},
			"/nonexistent."},
	} {
		t.Run(name, func(t *testing.T) {
			data := harness.TempDir(t)
			said, _ := refusedStart(t, data, mistake.args...)
			var complaints []string
			for _, line := range lines(said) {
				if strings.HasPrefix(line, "error:") {
					complaints = append(complaints, line)
				}
			}
			if len(complaints) != 1 || !strings.Contains(complaints[0], mistake.want) {
				t.Errorf("want one line of error with %q, got:\n%s", mistake.want, said)
			}
			if left := harness.ProcsOf(data); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A file can say what flags cannot: several audiences, rules, and where the
// anonymous are let in. It counts in every tier.
func TestAuthenticationConfigIsFollowedAsByStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	issuer := harness.StartIssuer(t)
	path := harness.TempDir(t) + "/authentication.json"
	replace := func(config []byte) { // at once: nobody reads half of it
		harness.WriteFile(t, path+".new", config, 0o600)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace(authenticationConfig(t, issuer, "/livez", "client", "other"))
	p := runPair(t, "--authentication-config="+path)

	sign := func(aud, sub, hd string) string {
		return issuer.Sign(t, map[string]any{"aud": aud, "sub": sub, "hd": hd, "teams": []string{"a", "b"}})
	}
	tokens := map[string]string{
		"for the client": sign("client", "jane", "yes"), "for the other": sign("other", "jane", "yes"),
		"bad: for a third": sign("third", "jane", "yes"), "bad: breaks a rule": sign("client", "jane", "no"),
		"bad: reserved": sign("client", "system:jane", "yes"),
		"bad: expired":  issuer.Sign(t, map[string]any{"aud": "client", "sub": "jane", "hd": "yes", "teams": []string{"a"}, "exp": time.Now().Add(-time.Hour).Unix()}),
	}
	for _, side := range p.sides() {
		side.tokens = tokens
		harness.Eventually(t, soon, "tokens of the issuer are known", func() error {
			_, err := whoami(t, side.bearer(t, "for the client"))
			return err
		})
	}
	t.Run("users", p.sameUsers)
	t.Run("tiers", p.sameAnswersOfEveryTier)
	t.Run("bad", p.sameRefusals)
	t.Run("reviews", p.sameReviews)
	t.Run("anonymous", func(t *testing.T) {
		none := func(*bearers) []string { return nil }
		if got := p.compare(t, "no token", "/livez", none); got.Code != http.StatusOK {
			t.Errorf("/livez answers the anonymous %s", got)
		}
		for _, path := range []string{"/readyz", "/livez/ping", "/version", "/nowhere", tierPaths["core"], tierPaths["extensions"], tierPaths["aggregator"]} {
			if got := p.compare(t, "no token", path, none); got.Code != http.StatusUnauthorized {
				t.Errorf("%s answers the anonymous %s", path, got)
			}
		}
	})
	t.Run("reload", func(t *testing.T) {
		counted := func() string { return p.sameCounts(t, "apiserver_authentication_config_controller_") }
		before := counted()
		changed := func() {
			harness.Eventually(t, soon, "the file is read", func() error {
				if counted() == before {
					return fmt.Errorf("still %s", before)
				}
				return nil
			})
			before = counted()
		}
		// Another audience, for the first one.
		replace(authenticationConfig(t, issuer, "/livez", "third", "other"))
		changed()
		for kind, want := range map[string]int{"bad: for a third": http.StatusForbidden, "for the other": http.StatusForbidden, "for the client": http.StatusUnauthorized} {
			for tier, path := range tierPaths {
				for name, side := range p.sides() { // verdicts are kept for 10 s
					harness.Eventually(t, soon, name+": "+kind+" in "+tier, func() error { return answersWith(t, side.bearer(t, kind), path, want) })
				}
				p.compare(t, kind, path, showing(kind))
			}
		}
		// Where the anonymous are let in is for the start; such a file is refused whole.
		replace(authenticationConfig(t, issuer, "/readyz", "client"))
		changed()
		replace([]byte("]junk["))
		changed()
		p.compare(t, "after mistakes", tierPaths["core"], showing("bad: for a third"))
		for _, path := range []string{"/livez", "/readyz"} {
			p.compare(t, "the anonymous after mistakes", path, func(*bearers) []string { return nil })
		}
	})
}

// sameCounts demands that metrics with the prefix have the values of stock's, and
// returns them.
func (p *pairOfBearers) sameCounts(t *testing.T, prefix string) string {
	t.Helper()
	samples := regexp.MustCompile(`(?m)^` + prefix + `\S*(?:total|info)\{.*$`)
	var all string
	harness.Eventually(t, soon, "both count alike", func() error {
		of := func(api *harness.API, path string) string {
			found := samples.FindAllString(string(api.Get(t, path).Body), -1)
			slices.Sort(found)
			return strings.Join(found, "\n")
		}
		all = of(p.stock.API, "/metrics")
		if got := of(p.ours.API, "/debug/tiers/core/metrics"); got != all || got == "" {
			return fmt.Errorf("%s, stock\n%s", got, all)
		}
		return nil
	})
	return all
}

// authenticationConfig is a file with one issuer, and one path for the anonymous.
func authenticationConfig(t *testing.T, issuer *harness.Issuer, anonymous string, audiences ...string) []byte {
	t.Helper()
	return harness.Must(json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
		"anonymous": map[string]any{"enabled": true, "conditions": []map[string]string{{"path": anonymous}}},
		"jwt": []map[string]any{{
			"issuer": map[string]any{"url": issuer.URL, "certificateAuthority": string(issuer.CA.CertPEM()),
				"audiences": audiences, "audienceMatchPolicy": "MatchAny"},
			"claimValidationRules": []map[string]string{{"expression": `claims.hd == "yes"`, "message": "hd must be yes"}},
			"claimMappings": map[string]any{
				"username": map[string]string{"expression": `"file:" + claims.sub`},
				"groups":   map[string]string{"expression": "claims.teams"},
				"uid":      map[string]string{"claim": "sub"},
				"extra":    []map[string]string{{"key": "example.com/team", "valueExpression": "claims.teams[0]"}},
			},
			"userValidationRules": []map[string]string{{"expression": `!user.username.startsWith("file:system:")`, "message": "reserved"}},
		}},
	}))(t)
}
