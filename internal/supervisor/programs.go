package supervisor

import (
	"fmt"
	"os"
	"path/filepath"

	"triptych.dev/triptych/internal/tier"
)

// release is which programs processes are started of, and as what.
type release struct {
	// dir is the folder of the programs, absolute and without links: a link that is
	// turned to another folder later must not change what a crashed process comes back as.
	dir string
	// emulate is the minor of Kubernetes that the processes are told to emulate, or empty.
	emulate string
}

func (r release) program(name tier.Name) string { return filepath.Join(r.dir, string(name)) }

// binDir is the folder that dir names, or that of the supervisor's own program.
func binDir(dir, executable string) (string, error) {
	if dir == "" {
		dir = filepath.Dir(executable)
	}
	// A child does not start where we stand if it is found by a relative path.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real, nil
	}
	return dir, nil // whoever looks for programs there says what is wrong
}

// checkPrograms demands the programs of the tiers in dir.
func checkPrograms(tiers []tier.Name, dir string) error {
	for _, name := range tiers {
		path := release{dir: dir}.program(name)
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("cannot find the program of %s: %w: install it there, or name its folder by --bin-dir", name, err)
		}
		if info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return fmt.Errorf("cannot run the program of %s: %s is not an executable file", name, path)
		}
	}
	return nil
}
