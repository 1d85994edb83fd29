package supportbundle

import (
	"bytes"
	"regexp"
	"slices"
)

// redacted stands for what was taken out.
const redacted = "[redacted]"

// shapes are what secrets look like, whoever wrote them where. What stays is the first group,
// if there is one.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`),
	// PEM in base64, as in kubeconfigs.
	regexp.MustCompile(`LS0tLS1CRUdJTi[A-Za-z0-9+/=_-]{16,}`),
	// Tokens of service accounts and of OpenID Connect.
	regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`),
	// Tokens of supervisor join-token.
	regexp.MustCompile(`triptych-join\.[A-Za-z0-9_-]{16,}`),
	// Tokens of kubeadm's kind.
	regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`),
	regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}`),
	regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@"'?#]+@`),
	// A file's name is no secret.
	regexp.MustCompile(`(?i)(["']?[\w.-]*(?:password|passwd|passphrase|secret|token|api[-_]?key|key-data|private[-_]?key|credential)["']?\s*[:=]\s*)(?:"[^"\n]+"|'[^'\n]+'|[^\s"',;}&/][^\s"',;}&]*)`),
}

// Redactor takes secrets out of text: those that look like one, and those that are known. It may be used from any
// goroutine.
type Redactor struct{ known [][]byte }

// shortest is the length from which a known secret is looked for: shorter ones are found in
// words.
const shortest = 6

// newRedactor knows secrets by themselves.
func newRedactor(secrets []string) *Redactor {
	r := &Redactor{}
	for _, s := range secrets {
		if len(s) >= shortest {
			r.known = append(r.known, []byte(s))
		}
	}
	// One that is part of another must not leave the rest of it.
	slices.SortFunc(r.known, func(a, b []byte) int { return len(b) - len(a) })
	return r
}

// Redact returns text without its secrets; text itself may be changed or not.
func (r *Redactor) Redact(text []byte) []byte {
	for _, secret := range r.known {
		text = bytes.ReplaceAll(text, secret, []byte(redacted))
	}
	for _, shape := range shapes {
		replacement := []byte(redacted)
		if shape.NumSubexp() > 0 {
			replacement = []byte("${1}" + redacted)
		}
		text = shape.ReplaceAll(text, replacement)
	}
	return text
}
