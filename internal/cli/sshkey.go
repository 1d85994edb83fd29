package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/sshaccess"
)

func (c *command) sshKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ssh-key",
		Short: "Print the line that lets the API server in on nodes",
		Long: `Print the line for authorized_keys, of run's --ssh-user on every node and of the
bastion, that lets the API server in to reach kubelets, pods and Services, and
gives it no shell. The key is made if there is none yet, so that nodes can be
prepared before the first start. With a key of your own (--ssh-keyfile), use that.`,
		Example: `  supervisor ssh-key --data-dir ./data | ssh root@node 'cat >> ~triptych/.ssh/authorized_keys'`,
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return c.printSSHKey() },
	}
	c.addDataDir(cmd)
	return cmd
}

func (c *command) printSSHKey() error {
	d := datadir.Dir{Root: c.dataDir}
	path := pki.Paths{Dir: d}.SSHKey()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeSSHKey(c.dataDir, path); err != nil {
			return err
		}
	}
	line, err := sshaccess.Restricted(path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, line)
	return err
}

// makeSSHKey makes the data directory too. A supervisor that runs on it has made the
// key if it needs one.
func makeSSHKey(dataDir, path string) error {
	h, err := datadir.Open(dataDir)
	if locked := (*datadir.LockedError)(nil); errors.As(err, &locked) {
		return fmt.Errorf("the supervisor that runs on %s has no key for SSH: start it with --ssh-user", dataDir)
	}
	if err != nil {
		return usageError{err}
	}
	defer h.Close()
	_, err = sshaccess.EnsureKey(path)
	return err
}
