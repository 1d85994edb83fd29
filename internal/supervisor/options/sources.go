package options

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/flagtable"
)

// dropIns is what follows the name of a configuration file in that of the folder with
// changes to it.
const dropIns = ".d"

// Sources are the configuration files, in the order in which each is laid over those
// before: --config, what is in FILE.d, and what is in --config-dir.
func (o *Options) Sources() ([]string, error) {
	var all []string
	if o.ConfigFile != "" {
		beside, err := filesIn(o.ConfigFile + dropIns)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the folder of changes to --config: %w", err)
		}
		all = append([]string{o.ConfigFile}, beside...)
	}
	if o.ConfigDir != "" {
		more, err := filesIn(o.ConfigDir)
		if err != nil {
			return nil, fmt.Errorf("cannot read --config-dir: %w", err)
		}
		all = append(all, more...)
	}
	return all, nil
}

// filesIn are the configuration files of a folder by name. Others, such as what editors
// leave, are not looked at.
func filesIn(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder) // sorted
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		ending := filepath.Ext(e.Name())
		if slices.Contains([]string{".yaml", ".yml", ".json"}, ending) && !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	return files, nil
}

// merged are the files as one, and which of them each setting is from. Mistakes of all
// files are told together.
func (o *Options) merged(paths []string) (*File, map[string]string, error) {
	all, origins := &File{APIVersion: APIVersion, Kind: Kind}, map[string]string{}
	var errs []error
	for _, path := range paths {
		f, err := readFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot use %s: %w", o.called(path), err))
			continue
		}
		overlay(all, f)
		for setting := range f.paths() {
			origins[setting] = path
		}
	}
	return all, origins, errors.Join(errs...)
}

// called is a file as its user called it.
func (o *Options) called(path string) string {
	if path == o.ConfigFile {
		return "--config " + path
	}
	return path
}

func readFile(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseFile(data)
}

func parseFile(data []byte) (*File, error) {
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(data, &kind); err != nil {
		return nil, err
	}
	if kind.APIVersion != APIVersion || kind.Kind != Kind {
		return nil, fmt.Errorf("it is a %q of %q: want apiVersion: %s and kind: %s", kind.Kind, kind.APIVersion, APIVersion, Kind)
	}
	f := &File{}
	if err := yaml.UnmarshalStrict(data, f); err != nil {
		return nil, named(data, err)
	}
	return f, f.normalize()
}

var unknownField = regexp.MustCompile(`unknown field "([^"]+)"`)

// named makes of the decoder's word about an unknown field one that says where it is and
// what was meant.
func named(data []byte, err error) error {
	found := unknownField.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	where, hint := "", ""
	for i, line := range bytes.Split(data, []byte("\n")) {
		if strings.HasPrefix(strings.TrimLeft(string(line), ` "'`), found[1]) {
			where = fmt.Sprintf("line %d: ", i+1)
			break
		}
	}
	if near := flagtable.Nearest(found[1], Settings()); near != "" {
		hint = ": did you mean " + near + "?"
	}
	return fmt.Errorf("%sunknown setting %q%s", where, found[1], hint)
}
