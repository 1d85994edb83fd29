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

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

const (
	tokensGroup = "tokens.example.com"
	// apiAudience is what both servers take tokens for, and issue them as.
	apiAudience = "https://kubernetes.default.svc.cluster.local"
)

// tierPaths are resources of each tier, which a stranger may not list.
var tierPaths = map[string]string{
	"core":       "/api/v1/namespaces/kube-system/secrets",
	"extensions": gadgetsPath(tokensGroup),
	"aggregator": "/apis/apiregistration.k8s.io/v1/apiservices",
}

// bearers is a server and a token of every kind for it.
type bearers struct {
	*harness.API
	auditLog string
	source   *harness.Tokens
	account  *corev1.ServiceAccount
	tokens   map[string]string
}

// pairOfBearers is ours beside stock with the same flags and files.
type pairOfBearers struct {
	ours, stock *bearers
	cluster     *harness.Cluster
}

// runPair starts both with the flags, and with an audit log each.
func runPair(t *testing.T, flags ...string) *pairOfBearers {
	t.Helper()
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/policy.yaml", []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600)
	with := func(name string) []string {
		return append([]string{"--audit-policy-file=" + files + "/policy.yaml", "--audit-log-path=" + files + "/" + name + ".log"}, flags...)
	}
	cluster := harness.Begin(t, harness.Options{Args: with("ours")})
	stock := harness.RunStock(t, with("stock")...)
	cluster.WaitReady(t)
	p := &pairOfBearers{cluster: cluster, ours: &bearers{API: &cluster.API}, stock: &bearers{API: &stock.API}}
	for name, side := range p.sides() {
		side.auditLog = files + "/" + name + ".log"
		key := map[string]string{"ours": cluster.Path("pki", "sa.key"), "stock": stock.Dir + "/pki/sa.key"}[name]
		side.source = harness.Must(harness.NewTokens(side.Config(t), key))(t)
		installCRD(t, side.API, tokensGroup)
	}
	return p
}

func (p *pairOfBearers) sides() map[string]*bearers {
	return map[string]*bearers{"ours": p.ours, "stock": p.stock}
}

// outside are the flags, files and servers by which both know users that are no
// objects of theirs, a token of each, and how often a webhook was asked about one.
func outside(t *testing.T) (flags []string, tokens map[string]string, asked func(token string) int) {
	t.Helper()
	files := harness.TempDir(t)
	harness.WriteFile(t, files+"/tokens.csv", []byte("static-token,jane,7,\"devs,ops \"\nadmin-token,root,8,system:masters\n"), 0o600)
	issuer := harness.StartIssuer(t)
	harness.WriteFile(t, files+"/issuer.crt", issuer.CA.CertPEM(), 0o600)
	reviewer, asked := harness.StartReviewer(t, map[string]authenticationv1.UserInfo{
		"seen-by-ours": {Username: "hook"}, "seen-by-stock": {Username: "hook"},
		"reviewed-token": {Username: "hook", UID: "9", Groups: []string{"hooked"}, Extra: map[string]authenticationv1.ExtraValue{"Example.com/Key": {"a", "b"}}},
	})
	claims := map[string]any{"aud": "client", "sub": "subject", "email": "oidc@example.com", "email_verified": true, "teams": []string{"a", "b"}, "hd": "yes"}
	with := func(name string, value any) map[string]any {
		changed := map[string]any{name: value}
		for k, v := range claims {
			if k != name {
				changed[k] = v
			}
		}
		return changed
	}
	return []string{
			"--token-auth-file=" + files + "/tokens.csv",
			"--authentication-token-webhook-config-file=" + reviewer, "--authentication-token-webhook-version=v1",
			"--oidc-issuer-url=" + issuer.URL, "--oidc-client-id=client", "--oidc-ca-file=" + files + "/issuer.crt",
			"--oidc-username-claim=email", "--oidc-username-prefix=oidc:", "--oidc-groups-claim=teams", "--oidc-groups-prefix=oidc:",
			"--oidc-required-claim=hd=yes", "--oidc-signing-algs=ES256",
		}, map[string]string{
			"static": "static-token", "admin": "admin-token", "webhook": "reviewed-token", "oidc": issuer.Sign(t, claims),
			"bad: oidc expired":              issuer.Sign(t, with("exp", time.Now().Add(-time.Hour).Unix())),
			"bad: oidc for another client":   issuer.Sign(t, with("aud", "another")),
			"bad: oidc without the claim":    issuer.Sign(t, with("hd", "no")),
			"bad: oidc of another issuer":    issuer.Sign(t, with("iss", "https://127.0.0.1:1")),
			"bad: oidc signed by a stranger": harness.StartIssuer(t).Sign(t, with("iss", issuer.URL)),
		}, asked
}

// issue makes a token of every kind that stands for an object of the server's.
func (b *bearers) issue(t *testing.T, others map[string]string) {
	t.Helper()
	ctx, s := t.Context(), b.source
	b.account = harness.Must(s.Account(ctx, "robot"))(t)
	old := harness.Must(s.Account(ctx, "old"))(t)
	old.Secrets = []corev1.ObjectReference{{Name: "old-token"}}
	harness.Must(b.Clientset(t).CoreV1().ServiceAccounts("default").Update(ctx, old, metav1.UpdateOptions{}))(t)
	hour, minutes := int64(3600), int64(600)
	b.tokens = map[string]string{
		"bound":           harness.Must(s.Bound(ctx, "robot", authenticationv1.TokenRequestSpec{}))(t),
		"bound, briefly":  harness.Must(s.Bound(ctx, "robot", authenticationv1.TokenRequestSpec{ExpirationSeconds: &minutes}))(t),
		"bound, for both": harness.Must(s.Bound(ctx, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault", apiAudience}}))(t),
		"bound to Secret": harness.Must(s.ToSecret(ctx, "robot", "holds-robot"))(t),
		"bound to Pod":    harness.Must(s.ToPod(ctx, "robot", "runs-robot"))(t),
		"stale":           harness.Must(s.Stale(b.account, apiAudience))(t),
		"legacy":          harness.Must(s.Legacy(ctx, b.account, "robot-token", nil))(t),
		"legacy, made":    harness.Must(s.Legacy(ctx, old, "old-token", nil))(t),
		"bootstrap":       harness.Must(s.Bootstrap(ctx, "abcdef"))(t),

		"bad: for another audience": harness.Must(s.Bound(ctx, "robot", authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}, ExpirationSeconds: &hour}))(t),
		"bad: legacy, invalid": harness.Must(s.Legacy(ctx, b.account, "unused-token",
			map[string]string{"kubernetes.io/legacy-token-invalid-since": "2020-01-01"}))(t),
		"bad: legacy, no such Secret": harness.Must(s.Sign(map[string]any{"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot",
			"kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "none",
			"kubernetes.io/serviceaccount/service-account.name": "robot", "kubernetes.io/serviceaccount/service-account.uid": string(b.account.UID)}))(t),
		"bad: expired": harness.Must(s.Sign(map[string]any{"iss": apiAudience, "aud": apiAudience, "sub": "system:serviceaccount:default:robot",
			"exp": time.Now().Add(-time.Minute).Unix(), "kubernetes.io": map[string]any{"namespace": "default",
				"serviceaccount": map[string]any{"name": "robot", "uid": string(b.account.UID)}}}))(t),
		"bad: garbage": "garbage", "bad: like a JWT": "a.b.c", "bad: of odd letters": "tökén", "bad: bootstrap": "abcdef.0123456789abcdeX",
	}
	forged := b.tokens["bound"]
	b.tokens["bad: forged"] = forged[:len(forged)-8] + "AAAAAAAA"
	for kind, token := range others {
		b.tokens[kind] = token
	}
}

// kinds of tokens, good or bad ones.
func (p *pairOfBearers) kinds(good bool) []string {
	return slices.DeleteFunc(keys(p.ours.tokens), func(kind string) bool { return strings.HasPrefix(kind, "bad: ") == good })
}

// bearer returns a configuration that shows the token and nothing else.
func (b *bearers) bearer(t *testing.T, kind string) *rest.Config {
	t.Helper()
	config := b.Anonymous(t)
	config.BearerToken = b.tokens[kind]
	return config
}

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// comparable is an answer without what differs between any two servers.
func comparable(answer harness.Answer) string {
	header := answer.Header.Clone()
	for _, own := range []string{"Date", "Content-Length", "Audit-Id"} {
		if header.Get(own) != "" {
			header.Set(own, "is set")
		}
	}
	whole := fmt.Sprintf("%d\n%v\n%s", answer.Code, header, answer.Body)
	return uuid.ReplaceAllString(whole, "UUID")
}

// Every kind of token names the same user as in stock, in every tier and by
// every way there is to show it; every bad one is refused with the same words.
func TestTokensAreJudgedAsInStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	flags, others, asked := outside(t)
	p := runPair(t, append(flags, "--anonymous-auth=false")...)
	for _, side := range p.sides() {
		side.issue(t, others)
		// A provider's keys are fetched in the background.
		harness.Eventually(t, soon, "tokens of the issuer are known", func() error {
			_, err := whoami(t, side.bearer(t, "oidc"))
			return err
		})
	}
	for name, test := range map[string]func(*testing.T){
		"users": p.sameUsers, "tiers": p.sameAnswersOfEveryTier, "bad": p.sameRefusals, "headers": p.sameHeaders,
		"reviews": p.sameReviews, "websockets": p.sameWebSockets, "used": p.sameTracking,
	} {
		t.Run(name, test)
	}
	t.Run("audit", p.sameAudit) // of the requests above
	t.Run("webhook", func(t *testing.T) { p.sameQuestions(t, asked) })
	t.Run("revocation", p.sameLifetime)
}

func (p *pairOfBearers) sameUsers(t *testing.T) {
	for _, kind := range p.kinds(true) {
		users := map[string]string{}
		for name, side := range p.sides() {
			user, err := whoami(t, side.bearer(t, kind))
			if err != nil {
				t.Errorf("%s, %s: %v", kind, name, err)
				continue
			}
			if kind == "bound" && user.UID != string(side.account.UID) {
				t.Errorf("%s: the token of %s makes %+v", name, side.account.UID, user)
			}
			users[name] = uuid.ReplaceAllString(string(harness.Must(json.Marshal(user))(t)), "UUID")
		}
		if diff := cmp.Diff(users["stock"], users["ours"]); diff != "" {
			t.Errorf("%s: not whom stock sees (-stock +ours):\n%s", kind, diff)
		}
		var said authenticationv1.SelfSubjectReview
		out := p.ours.As(t, p.ours.tokens[kind]).Kubectl(t, "auth", "whoami", "-o", "json")
		if err := json.Unmarshal([]byte(out), &said); err != nil || said.Status.UserInfo.Username == "" {
			t.Errorf("%s: kubectl auth whoami prints %s", kind, out)
		}
		if got := uuid.ReplaceAllString(string(harness.Must(json.Marshal(said.Status.UserInfo))(t)), "UUID"); got != users["ours"] {
			t.Errorf("%s: kubectl auth whoami says %s", kind, got)
		}
	}
}

// compare sends the same request to both, with each side's own headers, and
// returns our answer.
func (p *pairOfBearers) compare(t *testing.T, what, path string, headers func(*bearers) []string) harness.Answer {
	t.Helper()
	answers := map[string]harness.Answer{}
	for name, side := range p.sides() {
		answers[name] = harness.Must(harness.Send(t.Context(), side.Anonymous(t), http.MethodGet, path, "", headers(side)...))(t)
	}
	if diff := cmp.Diff(comparable(answers["stock"]), comparable(answers["ours"])); diff != "" {
		t.Errorf("%s, GET %s: not what stock answers (-stock +ours):\n%s", what, path, diff)
	}
	return answers["ours"]
}

func showing(kind string) func(*bearers) []string {
	return func(b *bearers) []string { return []string{"Authorization", "Bearer " + b.tokens[kind]} }
}

// marked is path with a query by which its audit events are found.
func marked(path, kind string) string {
	return path + "?mark=" + strings.NewReplacer(" ", "_", ",", "", ":", "").Replace(kind)
}

func (p *pairOfBearers) sameAnswersOfEveryTier(t *testing.T) {
	for _, kind := range p.kinds(true) {
		want := http.StatusForbidden
		if kind == "admin" {
			want = http.StatusOK
		}
		for tier, path := range tierPaths {
			if kind == "admin" {
				path = map[string]string{"core": "/api/v1/namespaces/none/configmaps", "extensions": path, "aggregator": "/apis/apiregistration.k8s.io/v1"}[tier]
				for _, side := range p.sides() {
					if got := harness.Must(harness.Send(t.Context(), side.bearer(t, kind), http.MethodGet, path, ""))(t); got.Code != want {
						t.Errorf("%s, %s: %s", kind, path, got)
					}
				}
				continue
			}
			if got := p.compare(t, kind, marked(path, kind), showing(kind)); got.Code != want {
				t.Errorf("%s, %s: %s", kind, tier, got)
			}
		}
	}
}

func (p *pairOfBearers) sameRefusals(t *testing.T) {
	for _, kind := range p.kinds(false) {
		for tier, path := range tierPaths {
			if got := p.compare(t, kind, marked(path, kind), showing(kind)); got.Code != http.StatusUnauthorized {
				t.Errorf("%s, %s: %s", kind, tier, got)
			}
		}
	}
}

// sameHeaders is about how a good token may be shown, and how not; and about
// requests that show none, since the anonymous are not let in.
func (p *pairOfBearers) sameHeaders(t *testing.T) {
	for form, want := range map[string]int{
		"Bearer %s": http.StatusForbidden, "bearer %s": http.StatusForbidden, "BEARER %s": http.StatusForbidden,
		"  Bearer %s  ": http.StatusForbidden, "Bearer %s trailing": http.StatusForbidden,
		"Bearer  %s": http.StatusUnauthorized, "Bearer\t%s": http.StatusUnauthorized, "Bearer,%s": http.StatusUnauthorized,
		"%s": http.StatusUnauthorized, "Basic %s": http.StatusUnauthorized, "Bearer x %s": http.StatusUnauthorized,
	} {
		for _, path := range tierPaths {
			got := p.compare(t, form, path, func(b *bearers) []string {
				return []string{"Authorization", fmt.Sprintf(form, b.tokens["static"])}
			})
			if got.Code != want {
				t.Errorf("%q, %s: %s", form, path, got)
			}
		}
	}
	for _, value := range []string{"Bearer", "Bearer ", "Bearer  ", "", "Negotiate x"} {
		for _, path := range tierPaths {
			if got := p.compare(t, value, path, func(*bearers) []string { return []string{"Authorization", value} }); got.Code != http.StatusUnauthorized {
				t.Errorf("%q, %s: %s", value, path, got)
			}
		}
	}
	for _, path := range append([]string{"/version", "/healthz", "/apis", "/openapi/v3", "/nowhere"}, tierPaths["core"], tierPaths["extensions"], tierPaths["aggregator"]) {
		if got := p.compare(t, "no token", path, func(*bearers) []string { return nil }); got.Code != http.StatusUnauthorized {
			t.Errorf("the anonymous at %s: %s", path, got)
		}
	}
}

// sameReviews asks each server about every token, for its own audience and for
// another.
func (p *pairOfBearers) sameReviews(t *testing.T) {
	for kind := range p.ours.tokens {
		for _, audiences := range [][]string{nil, {"vault"}, {apiAudience, "vault"}} {
			verdicts := map[string]string{}
			for name, side := range p.sides() {
				review := harness.Must(side.Clientset(t).AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{
					Spec: authenticationv1.TokenReviewSpec{Token: side.tokens[kind], Audiences: audiences},
				}, metav1.CreateOptions{}))(t)
				// What is wrong with a token may name the moment and the token.
				review.Status.Error = map[bool]string{true: "some"}[review.Status.Error != ""]
				verdicts[name] = uuid.ReplaceAllString(string(harness.Must(json.Marshal(review.Status))(t)), "UUID")
			}
			if diff := cmp.Diff(verdicts["stock"], verdicts["ours"]); diff != "" {
				t.Errorf("%s for %v: not stock's review (-stock +ours):\n%s", kind, audiences, diff)
			}
		}
	}
}

// sameTracking finds the day of use on the Secrets of old tokens.
func (p *pairOfBearers) sameTracking(t *testing.T) {
	for name, side := range p.sides() {
		for _, kind := range []string{"legacy", "legacy, made"} {
			harness.Must(whoami(t, side.bearer(t, kind)))(t)
		}
		for _, secret := range []string{"robot-token", "old-token"} {
			harness.Eventually(t, soon, name+" writes down when "+secret+" was used", func() error {
				got, err := side.Clientset(t).CoreV1().Secrets("default").Get(t.Context(), secret, metav1.GetOptions{})
				if err == nil && got.Labels["kubernetes.io/legacy-token-last-used"] == "" {
					err = fmt.Errorf("its labels are %v", got.Labels)
				}
				return err
			})
		}
	}
}

// sameAudit compares what the audit logs say of the marked requests.
func (p *pairOfBearers) sameAudit(t *testing.T) {
	for kind := range p.ours.tokens {
		if kind == "admin" {
			continue
		}
		for _, path := range tierPaths {
			said := map[string]string{}
			for name, side := range p.sides() {
				said[name] = side.audited(t, marked(path, kind))
			}
			if diff := cmp.Diff(said["stock"], said["ours"]); diff != "" {
				t.Errorf("%s, %s: not audited as by stock (-stock +ours):\n%s", kind, path, diff)
			}
		}
	}
	// The question to core is not a request: no log knows of it.
	if log := string(harness.Must(os.ReadFile(p.ours.auditLog))(t)); strings.Contains(log, "Authenticate\"") {
		t.Error("the question about a token is audited")
	}
}

var seconds = regexp.MustCompile(`seconds after warning threshold: \d+`)

// audited returns who, what and the annotations of the request's events. That of
// a refusal is its last at the start of the answer.
func (b *bearers) audited(t *testing.T, uri string) string {
	t.Helper()
	var found []string
	harness.Eventually(t, soon, uri+" is audited", func() error {
		log, err := os.ReadFile(b.auditLog)
		if err != nil {
			return err
		}
		found = nil
		var last auditv1.Stage
		for line := range strings.Lines(string(log)) {
			var event auditv1.Event
			// Decoding all of a long log for each request would take half a minute.
			if strings.Contains(line, uri) && json.Unmarshal([]byte(line), &event) == nil && event.RequestURI == uri {
				last = event.Stage
				delete(event.Annotations, tierAnnotation)
				found = append(found, fmt.Sprintf("%s %+v\n%v\n%v", event.Stage, event.User, event.ResponseStatus, event.Annotations))
			}
		}
		if last == "" || last == auditv1.StageRequestReceived {
			return fmt.Errorf("there are %d of its events", len(found))
		}
		return nil
	})
	return seconds.ReplaceAllString(uuid.ReplaceAllString(strings.Join(found, "\n"), "UUID"), "seconds")
}

// sameLifetime takes tokens back. Core remembers what it has found out about a
// token, as stock does; a second memory would add to it.
// sameQuestions demands that what a webhook says of a token is remembered as by
// stock, whichever tiers the token is shown to.
func (p *pairOfBearers) sameQuestions(t *testing.T, asked func(token string) int) {
	for kind, want := range map[string]int{"seen": http.StatusForbidden, "unseen": http.StatusUnauthorized} {
		counts := map[string]int{}
		for name, side := range p.sides() {
			token := kind + "-by-" + name
			for range 3 {
				for tier, path := range tierPaths {
					config := side.Anonymous(t)
					config.BearerToken = token
					if err := answersWith(t, config, path, want); err != nil {
						t.Errorf("%s, %s: %v", token, tier, err)
					}
				}
			}
			counts[name] = asked(token)
		}
		if counts["ours"] != counts["stock"] || counts["ours"] == 0 {
			t.Errorf("about a token that it has %s the webhook was asked %v", kind, counts)
		}
		t.Log(kind, counts)
	}
}

func (p *pairOfBearers) sameLifetime(t *testing.T) {
	for name, side := range p.sides() {
		for _, r := range harness.Must(side.source.Revocables(t.Context(), 1))(t) {
			t.Run(name+", "+r.Kind, func(t *testing.T) {
				t.Parallel()
				took := harness.Must(r.TimeToDie(t.Context(), side.Config(t)))(t)
				// As long again would be a second memory.
				if bound := harness.TokenCacheTTL * 18 / 10; took > bound {
					t.Errorf("accepted for %v after it was taken back", took)
				}
			})
		}
	}
}
