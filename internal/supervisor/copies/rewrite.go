package copies

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxRewritten is how large a configuration may be in which files are looked for.
const maxRewritten = 4 << 20

// relative are the keys of configurations whose value is a path, which may be relative to the folder of
// the configuration. Elsewhere an absolute path of a file counts.
var relative = []string{
	"certificate-authority", "client-certificate", "client-key", "tokenFile", // kubeconfig
	"path", "kubeConfigFile", "caBundle", "clientCert", "clientKey", "udsName", // admission, authorization, egress
}

// folders are keys whose value is a folder of configurations.
var folders = []string{"staticManifestsDir"}

// errProgram: a kubeconfig wants to have a program run for its credentials.
var errProgram = errors.New("it has a program run for credentials (exec), which no process but the supervisor may: use tokenFile, or start with --sandbox=off")

// rewritten returns the content of a file with the copies of the files that it names. What is no YAML or JSON,
// or names none, is returned as it is. The caller holds the lock.
func (f *Folder) rewritten(from string, content []byte) ([]byte, error) {
	if len(content) > maxRewritten || !bytes.ContainsRune(content, ':') {
		return content, nil
	}
	var documents []*yaml.Node
	changed := false
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		document := &yaml.Node{}
		if decoder.Decode(document) != nil {
			break // the end, or nothing of ours
		}
		was, err := f.walk(document, "", filepath.Dir(from))
		if err != nil {
			return nil, err
		}
		documents, changed = append(documents, document), changed || was
	}
	if !changed {
		return content, nil
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	for _, document := range documents {
		if err := encoder.Encode(document); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), encoder.Close()
}

// walk replaces the names of files below node, which stands under key in a file in folder.
func (f *Folder) walk(node *yaml.Node, key, folder string) (changed bool, err error) {
	if node.Kind == yaml.ScalarNode {
		value, err := f.named(key, node.Value, folder)
		if err != nil || value == node.Value {
			return false, err
		}
		node.Value = value
		return true, nil
	}
	for i, child := range node.Content {
		under := key
		if node.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue // a key
			}
			under = node.Content[i-1].Value
			if under == "exec" && hasKey(child, "command") && !f.Programs {
				return false, errProgram
			}
		}
		was, err := f.walk(child, under, folder)
		if err != nil {
			return false, err
		}
		changed = changed || was
	}
	return changed, nil
}

func hasKey(node *yaml.Node, key string) bool {
	return node.Kind == yaml.MappingNode && slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return n.Value == key })
}

// named returns what a value is to be in the copy.
func (f *Folder) named(key, value, folder string) (string, error) {
	if address, ok := strings.CutPrefix(value, "unix://"); ok {
		to, err := f.relayTo(address)
		return "unix://" + to, err
	}
	path := value
	if !filepath.IsAbs(path) {
		if value == "" || !slices.Contains(relative, key) {
			return value, nil
		}
		path = filepath.Join(folder, value)
	}
	info, err := os.Stat(path)
	switch {
	case key == "udsName":
		return f.relayTo(path)
	case err != nil || key == "command":
		return value, nil
	case info.IsDir() && slices.Contains(folders, key):
		return f.handFolder(path)
	case info.Mode().IsRegular():
		return f.hand(path)
	}
	return value, nil
}

// handFolder hands over all files of a folder, also those that come later.
func (f *Folder) handFolder(from string) (string, error) {
	if to := f.whole[from]; to != "" {
		return to, nil
	}
	to := f.unused(filepath.Base(from))
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	if err := f.open(to, 0o700, 0o750); err != nil {
		return "", err
	}
	f.whole[from] = to
	return to, f.handEntries(from, to)
}

func (f *Folder) handEntries(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, entry := range entries {
		path := filepath.Join(from, entry.Name())
		if !isFile(path) {
			continue
		}
		there[path] = true
		if f.copies[path] != nil {
			continue
		}
		c := &copied{from: path, to: filepath.Join(to, entry.Name())}
		if _, err := f.renew(c); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f.copies[path] = c
	}
	for path, c := range f.copies {
		if filepath.Dir(c.to) == to && !there[path] {
			delete(f.copies, path)
			_ = os.Remove(c.to)
		}
	}
	return nil
}
