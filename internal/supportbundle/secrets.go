package supportbundle

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// largest is the size up to which a file is read for secrets.
const largest = 1 << 20

// secretsBelow are those in the keys and kubeconfigs of a data directory.
func secretsBelow(root string) (secrets []string) {
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // what cannot be read is not packed either
		}
		if name := entry.Name(); strings.HasSuffix(name, ".key") || strings.HasSuffix(name, ".kubeconfig") {
			secrets = append(secrets, secretsOf(path)...)
		}
		return nil
	})
	return secrets
}

// secretsOf are those in a file of any kind that Kubernetes reads: PEM, YAML, or a list of
// tokens.
func secretsOf(path string) []string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > largest {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	text := string(data)
	if strings.Contains(text, "-----BEGIN ") {
		return ofPEM(data)
	}
	var document any
	if err := yaml.Unmarshal(data, &document); err == nil {
		if _, ok := document.(map[string]any); ok {
			return ofDocument(document, false)
		}
	}
	if words := strings.Fields(text); len(words) == 1 && len(words[0]) >= 16 && !strings.Contains(words[0], ",") { // a token alone
		return words
	}
	var secrets []string
	for line := range strings.Lines(text) {
		if columns := strings.Split(line, ","); len(columns) > 2 { // token,user,uid,groups
			secrets = append(secrets, strings.Trim(strings.TrimSpace(columns[0]), `"`))
		}
	}
	return secrets
}

// ofPEM are the lines of all that is no certificate, and what a kubeconfig makes of them.
func ofPEM(data []byte) (secrets []string) {
	text, private := string(data), true
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "-----") {
			private = !strings.Contains(line, "CERTIFICATE") && !strings.Contains(line, "PUBLIC")
			continue
		}
		if private && len(line) >= 16 {
			secrets = append(secrets, line)
		}
	}
	if len(secrets) > 0 {
		secrets = append(secrets, base64.StdEncoding.EncodeToString(data))
	}
	return secrets
}

// secretFields are names of fields whose values are secrets.
var secretFields = regexp.MustCompile(`(?i)(password|passphrase|secret|token|key-data)$`)

// ofDocument are the values of such fields, at any depth.
func ofDocument(value any, secret bool) (secrets []string) {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			secrets = append(secrets, ofDocument(field, secretFields.MatchString(name))...)
		}
	case []any:
		for _, field := range value {
			secrets = append(secrets, ofDocument(field, secret)...)
		}
	case string:
		if secret {
			secrets = append(secrets, value)
			if decoded, err := base64.StdEncoding.DecodeString(value); err == nil {
				secrets = append(secrets, ofPEM(decoded)...)
			}
		}
	}
	return secrets
}

// depth is how far files that name files are followed: a flag names a kubeconfig, which names a key.
const depth = 3

// secretsNamed are those in the files that texts name. What is relative is so to folder.
func secretsNamed(folder string, texts ...[]byte) (secrets []string) {
	seen := map[string]bool{}
	for range depth {
		var next [][]byte
		for _, text := range texts {
			for _, path := range named(folder, text) {
				if seen[path] {
					continue
				}
				seen[path] = true
				secrets = append(secrets, secretsOf(path)...)
				if content, err := os.ReadFile(path); err == nil {
					next = append(next, content)
				}
			}
		}
		texts = next
	}
	return secrets
}

var word = regexp.MustCompile(`[^\s"'` + "`" + `,;=\x00\[\]{}]+`)

// named are the files, none of them large, of which the name is in a text.
func named(folder string, text []byte) (paths []string) {
	for _, path := range word.FindAllString(string(text), -1) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() <= largest && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}
