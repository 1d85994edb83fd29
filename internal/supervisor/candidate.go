package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/version"

	"triptych.dev/triptych/internal/handshake"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

// askBudget is far above what a program needs to say its versions, on a cold disk too.
const askBudget = 30 * time.Second

// candidate is a folder of programs that say they fit together.
type candidate struct {
	dir string
	process.Versions
	minor *version.Version
}

// examine asks the programs of this host's tiers in dir for their versions. Nothing is
// touched.
func (s *setup) examine(ctx context.Context, dir string) (*candidate, error) {
	if err := checkPrograms(s.here, dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askBudget)
	defer cancel()
	said := make([]process.Versions, len(s.here))
	var group errgroup.Group
	for i, name := range s.here {
		group.Go(func() (err error) {
			said[i], err = s.askVersions(ctx, name, release{dir: dir}.program(name))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	c := &candidate{dir: dir, Versions: said[0]}
	for _, other := range said[1:] {
		alike := other
		alike.Tier = c.Tier
		if alike != c.Versions {
			return nil, fmt.Errorf("the programs of %s are not of one version: %s is %s, %s is %s", dir, c.Tier, told(c.Versions), other.Tier, told(other))
		}
	}
	var err error
	if c.minor, err = minorOf(c.Kubernetes); err != nil {
		return nil, fmt.Errorf("the programs of %s say that they are Kubernetes %q, which is no version", dir, c.Kubernetes)
	}
	return c, nil
}

func told(v process.Versions) string {
	return fmt.Sprintf("%s (Kubernetes %s, protocols %d to %d)", v.Version, v.Kubernetes, v.OldestProtocol, v.Protocol)
}

func minorOf(kubernetes string) (*version.Version, error) {
	v, err := version.ParseGeneric(kubernetes)
	if err != nil {
		return nil, err
	}
	return version.MajorMinor(v.Major(), v.Minor()), nil
}

// askVersions runs a program as who it is to be, for no longer than ctx.
func (s *setup) askVersions(ctx context.Context, name tier.Name, path string) (v process.Versions, err error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, process.VersionCommand)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.environ, &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if id, ok := s.apart.ids[string(name)]; ok {
		if err := reaches(string(name), id, path); err != nil {
			return v, err
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id.UID, Gid: id.GID}
		cmd.Dir = "/"
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return v, fmt.Errorf("%s does not say its version: it takes too long", path)
	case err != nil:
		why := strings.TrimSpace(errs.String())
		if why == "" {
			why = err.Error()
		}
		return v, fmt.Errorf("%s does not say its version, so it is no program of Triptych, or one from before live upgrades: %s", path, why)
	}
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Tier == "" || v.Protocol == 0 && v.OldestProtocol == 0 {
		return v, fmt.Errorf("%s does not say its version, so it is no program of Triptych, or one from before live upgrades", path)
	}
	if v.Tier != name {
		return v, fmt.Errorf("%s says that it is the program of %s", path, v.Tier)
	}
	return v, nil
}

// fits returns nil when the tiers, which are of Kubernetes now, can be brought to c.
func (c *candidate) fits(now *version.Version) error {
	newest, oldest := handshake.Protocol, handshake.OldestProtocol
	if handshake.Overlap(c.dir, c.Protocol, c.OldestProtocol) != nil || c.Protocol > newest+1 || c.Protocol < newest-1 {
		return fmt.Errorf("%s speaks protocols %d to %d, and what runs %d to %d: tiers can be one version of the protocol apart, so go by way of the versions between",
			c.dir, c.OldestProtocol, c.Protocol, oldest, newest)
	}
	switch {
	case c.minor.LessThan(now):
		return fmt.Errorf("%s is Kubernetes %s, and %s runs: an older minor may not read what is stored, so there is no way down but supervisor upgrade --rollback, while it is possible", c.dir, c.minor, now)
	case c.minor.Major() != now.Major() || c.minor.Minor() > now.Minor()+1:
		return fmt.Errorf("%s is Kubernetes %s, and %s runs: go one minor at a time", c.dir, c.minor, now)
	}
	return nil
}
