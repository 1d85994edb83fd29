package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

func (c *command) etcdRoles() *cobra.Command {
	var (
		at      wiring.Etcd
		prefix  string
		names   []string
		apply   bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "roles",
		Short: "Print what each process needs to be allowed in an etcd of yours, or allow it",
		Long: `Print the commands of etcdctl that give an etcd of yours a user and a role for each
process: core, extensions and aggregator may then touch their own keys alone. With --apply
they are given, by a certificate whose user has the role root, or before authentication
is on. Each process needs a client certificate with its name for the common name; name
those by --tier-flag core=etcd-certfile=FILE and etcd-keyfile of run, and have
--etcd-certfile be that of a root. Authentication is turned on by you, when all others who use
that etcd have users too: etcdctl auth enable. The etcd that the supervisor runs has all
this from its start.`,
		Example: `  supervisor etcd roles --etcd-servers https://10.0.0.7:2379 --etcd-cafile ca.crt --etcd-certfile root.crt --etcd-keyfile root.key --apply
  supervisor etcd roles --tiers extensions      # for an etcd of custom resources alone`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			roles, err := rolesOf(prefix, names)
			if err != nil {
				return usageError{err}
			}
			if !apply {
				return c.printRoles(roles)
			}
			if len(at.Servers) == 0 {
				return usageError{errors.New("--apply needs --etcd-servers")}
			}
			if err := options.CheckEtcd("etcd", at); err != nil {
				return usageError{err}
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			return c.applyRoles(ctx, at, roles)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&at.Servers, "etcd-servers", nil, "URLs of the etcd")
	flags.StringVar(&at.CAFile, "etcd-cafile", "", "CA of that etcd")
	flags.StringVar(&at.CertFile, "etcd-certfile", "", "client certificate of a user with the role root")
	flags.StringVar(&at.KeyFile, "etcd-keyfile", "", "key of that certificate")
	flags.StringVar(&prefix, "etcd-prefix", "/registry", "what keys begin with")
	flags.StringSliceVar(&names, "tiers", []string{"core", "extensions", "aggregator"}, "who uses that etcd")
	flags.BoolVar(&apply, "apply", false, "give the roles instead of printing them")
	flags.DurationVar(&timeout, "timeout", time.Minute, "give up after this time")
	return cmd
}

func rolesOf(prefix string, names []string) ([]etcd.Role, error) {
	var tiers []tier.Name
	for _, name := range names {
		t, err := tier.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("--tiers: %w", err)
		}
		tiers = append(tiers, t)
	}
	return etcd.Roles(prefix, tiers...), nil
}

func (c *command) printRoles(roles []etcd.Role) error {
	for _, r := range append(roles, etcd.Root) {
		for _, line := range r.Commands() {
			if _, err := fmt.Fprintln(c.stdout, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *command) applyRoles(ctx context.Context, at wiring.Etcd, roles []etcd.Role) error {
	client, err := custody.Dial(at)
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	if err := etcd.Apply(ctx, client.ActiveConnection(), roles, false); err != nil {
		return err
	}
	for _, r := range roles {
		fmt.Fprintf(c.stdout, "user %s has the role %s with %d rights\n", r.User, r.Name, len(r.Rights))
	}
	return nil
}

func (c *command) etcdAuth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "auth",
		Short: "Hand the data of the etcd that the supervisor runs to others",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	disable := &cobra.Command{
		Use:   "disable",
		Short: "Have etcd's data be usable by a plain etcd and a stock kube-apiserver",
		Long: `Turn etcd's authentication off in the data directory of a supervisor that is stopped,
so that a plain etcd can serve the data to whoever it lets in, such as a stock
kube-apiserver. The next start of the supervisor turns it on again.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.disableAuth(cmd.Context()) },
	}
	c.addDataDir(disable)
	cmd.AddCommand(disable)
	return cmd
}

func (c *command) disableAuth(ctx context.Context) error {
	if err := isCurrent(c.dataDir); err != nil {
		return err
	}
	h, err := datadir.Open(c.dataDir)
	if err != nil {
		return usageError{err}
	}
	defer h.Close()
	err = offline(ctx, h.Dir, func(ctx context.Context, _ wiring.Etcd, client *etcd.Client) error { return client.Open(ctx) })
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s can be served by any etcd; the next start of the supervisor turns authentication on again\n", h.Etcd())
	return err
}

// holdsEtcd refuses a data directory without data of an etcd that the supervisor runs. For what was moved
// elsewhere see isCurrent.
func holdsEtcd(dataDir string) error {
	if _, err := os.Stat(filepath.Join(datadir.Dir{Root: dataDir}.Etcd(), "member")); errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("%s holds no data of an etcd: name the supervisor's data directory by --data-dir", dataDir)}
	}
	return nil
}

// isCurrent refuses one whose data was moved to another etcd, too: it is that of then.
func isCurrent(dataDir string) error {
	if err := holdsEtcd(dataDir); err != nil {
		return err
	}
	if err := (datadir.Dir{Root: dataDir}).Unmoved(); err != nil {
		return usageError{err}
	}
	return nil
}
