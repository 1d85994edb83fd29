package harness

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
)

// Tokens hands out tokens that stand for objects of an API, in its namespace
// default. No controller of tokens runs in tests: what one would sign is signed
// by the key of the server's own files.
type Tokens struct {
	client kubernetes.Interface
	key    crypto.Signer
}

// NewTokens needs an administrator, and the file of the key that signs the
// tokens of service accounts.
func NewTokens(admin *rest.Config, keyFile string) (*Tokens, error) {
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", keyFile, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the key in %s does not sign", keyFile)
	}
	return &Tokens{client: client, key: key}, nil
}

// Account creates a service account. The namespace is made by core shortly after
// it is ready.
func (s *Tokens) Account(ctx context.Context, name string) (*corev1.ServiceAccount, error) {
	var account *corev1.ServiceAccount
	err := Await(ctx, StartBound, "a service account", func() (err error) {
		account, err = s.client.CoreV1().ServiceAccounts("default").
			Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	})
	return account, err
}

// Bound requests a token for an account.
func (s *Tokens) Bound(ctx context.Context, account string, spec authenticationv1.TokenRequestSpec) (string, error) {
	request, err := s.client.CoreV1().ServiceAccounts("default").
		CreateToken(ctx, account, &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// ToSecret creates a Secret and requests a token that is bound to it.
func (s *Tokens) ToSecret(ctx context.Context, account, name string) (string, error) {
	secret, err := s.client.CoreV1().Secrets("default").
		Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return s.Bound(ctx, account, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{
		Kind: "Secret", APIVersion: "v1", Name: name, UID: secret.UID,
	}})
}

// ToPod creates a Pod of the account and requests a token that is bound to it.
func (s *Tokens) ToPod(ctx context.Context, account, name string) (string, error) {
	never := false
	pod, err := s.client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, AutomountServiceAccountToken: &never,
			Containers: []corev1.Container{{Name: "main", Image: "none"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return s.Bound(ctx, account, authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{
		Kind: "Pod", APIVersion: "v1", Name: name, UID: pod.UID,
	}})
}

// Legacy creates the Secret of an old token, whose labels may say that it has
// been found out of use.
func (s *Tokens) Legacy(ctx context.Context, account *corev1.ServiceAccount, name string, labels map[string]string) (string, error) {
	const claim = "kubernetes.io/serviceaccount/"
	token, err := s.Sign(map[string]any{
		"iss":                          "kubernetes/serviceaccount",
		"sub":                          "system:serviceaccount:default:" + account.Name,
		claim + "namespace":            "default",
		claim + "secret.name":          name,
		claim + "service-account.name": account.Name,
		claim + "service-account.uid":  string(account.UID),
	})
	if err != nil {
		return "", err
	}
	_, err = s.client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{
			corev1.ServiceAccountNameKey: account.Name, corev1.ServiceAccountUIDKey: string(account.UID),
		}},
		Type: corev1.SecretTypeServiceAccountToken,
		Data: map[string][]byte{corev1.ServiceAccountTokenKey: []byte(token)},
	}, metav1.CreateOptions{})
	return token, err
}

// Stale returns a token of the account as a Pod of old would hold: good for
// years, because its client does not yet know to read a new one each hour.
func (s *Tokens) Stale(account *corev1.ServiceAccount, audience string) (string, error) {
	now := time.Now()
	return s.Sign(map[string]any{
		"iss": audience, "aud": []string{audience}, "sub": "system:serviceaccount:default:" + account.Name,
		"iat": now.Add(-2 * time.Hour).Unix(), "nbf": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      "default",
			"serviceaccount": map[string]any{"name": account.Name, "uid": string(account.UID)},
			"warnafter":      now.Add(-time.Hour).Unix(),
		},
	})
}

// Sign returns a token with these claims, signed as the server signs.
func (s *Tokens) Sign(claims map[string]any) (string, error) { return SignToken(s.key, "", claims) }

// Bootstrap creates the Secret of a token by which a machine joins.
func (s *Tokens) Bootstrap(ctx context.Context, id string) (string, error) {
	const secret = "0123456789abcdef"
	_, err := s.client.CoreV1().Secrets("kube-system").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
			"auth-extra-groups": "system:bootstrappers:machines",
		},
	}, metav1.CreateOptions{})
	return id + "." + secret, err
}

// Revocable is a token and how it is taken back.
type Revocable struct {
	Kind, Token string
	Revoke      func(context.Context) error
}

// Revocables makes a token of each kind that can be taken back by deleting
// something. round tells those of one call from another's.
func (s *Tokens) Revocables(ctx context.Context, round int) ([]Revocable, error) {
	suffix := fmt.Sprintf("%06d", round) // also the form of the id of a bootstrap token
	now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	core := s.client.CoreV1()
	leaving, err := s.Account(ctx, "leaving-"+suffix)
	if err != nil {
		return nil, err
	}
	staying, err := s.Account(ctx, "staying-"+suffix)
	if err != nil {
		return nil, err
	}
	plain, err1 := s.Bound(ctx, leaving.Name, authenticationv1.TokenRequestSpec{})
	toSecret, err2 := s.ToSecret(ctx, staying.Name, "secret-"+suffix)
	toPod, err3 := s.ToPod(ctx, staying.Name, "pod-"+suffix)
	legacy, err4 := s.Legacy(ctx, staying, "legacy-"+suffix, nil)
	bootstrap, err5 := s.Bootstrap(ctx, suffix)
	return []Revocable{
		{"of a ServiceAccount", plain, func(ctx context.Context) error {
			return core.ServiceAccounts("default").Delete(ctx, leaving.Name, now)
		}},
		{"bound to a Secret", toSecret, func(ctx context.Context) error { return core.Secrets("default").Delete(ctx, "secret-"+suffix, now) }},
		{"bound to a Pod", toPod, func(ctx context.Context) error { return core.Pods("default").Delete(ctx, "pod-"+suffix, now) }},
		{"in a legacy Secret", legacy, func(ctx context.Context) error { return core.Secrets("default").Delete(ctx, "legacy-"+suffix, now) }},
		{"to bootstrap", bootstrap, func(ctx context.Context) error {
			return core.Secrets("kube-system").Delete(ctx, "bootstrap-token-"+suffix, now)
		}},
	}, errors.Join(err1, err2, err3, err4, err5)
}
