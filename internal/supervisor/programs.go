package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"triptych.dev/triptych/internal/tier"
)

// programs finds the programs of the tiers up to head in dir, or beside the
// supervisor's own.
func programs(head tier.Name, dir, executable string) (map[tier.Name]string, error) {
	if dir == "" {
		dir = filepath.Dir(executable)
	}
	// A child does not start where we stand if it is found by a relative path.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	found := map[tier.Name]string{}
	for _, name := range tier.UpTo(head) {
		path := filepath.Join(dir, string(name))
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("cannot find the program of %s: %w: install it there, or name its folder by --bin-dir", name, err)
		}
		if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return nil, fmt.Errorf("cannot run the program of %s: %s is not an executable file", name, path)
		}
		found[name] = path
	}
	return found, nil
}
