package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/supervisor/options"
)

func (c *command) migrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Move a cluster from and to a stock kube-apiserver, and from and to an etcd of yours",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.migrateFrom(), c.migrateTo(), c.migrateToEtcd(), c.migrateToEmbedded())
	return cmd
}

func (c *command) migrateFrom() *cobra.Command {
	var (
		from     backup.Stock
		manifest string
		replace  bool
	)
	cmd := &cobra.Command{
		Use:   "from-stock [-- FLAG...]",
		Short: "Make a data directory of what a stock kube-apiserver and its etcd have left",
		Long: `Make a data directory of what a stock kube-apiserver and its etcd have left. Both must be stopped,
and are only read: with kubeadm, move kube-apiserver.yaml and etcd.yaml out of /etc/kubernetes/manifests
first. Objects, resource versions, tokens and certificates stay what they are.

The flags of kube-apiserver become a configuration file, with copies of the files that they name, such
as the configuration of encryption at rest: they are read from the manifest of its pod, or given after --.
All is in place at once or nothing; what was killed can be run again.`,
		Example: `  supervisor migrate from-stock --data-dir /var/lib/triptych --manifest /root/kube-apiserver.yaml
  supervisor run --data-dir /var/lib/triptych --config /var/lib/triptych/migrated/supervisor.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags := args
			if manifest != "" {
				var err error
				if flags, err = flagsIn(manifest); err != nil {
					return usageError{fmt.Errorf("cannot use --manifest %s: %w", manifest, err)}
				}
				flags = append(flags, args...)
			}
			return c.fromStock(cmd.Context(), from, flags, replace)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&from.Etcd, "etcd-data", "/var/lib/etcd", "data directory of the stopped etcd")
	cmd.Flags().StringVar(&from.PKI, "pki", "/etc/kubernetes/pki", "certificates and keys, as kubeadm names them")
	cmd.Flags().StringVar(&manifest, "manifest", "", "manifest of kube-apiserver's pod, to read its flags from")
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of data that is there, which is kept aside")
	return cmd
}

// flagsIn returns the flags of kube-apiserver in the manifest of its pod.
func flagsIn(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var pod corev1.Pod
	if err := yaml.Unmarshal(data, &pod); err != nil {
		return nil, err
	}
	for _, container := range pod.Spec.Containers {
		all := append(container.Command, container.Args...)
		if len(all) > 0 && filepath.Base(all[0]) == "kube-apiserver" {
			return all[1:], nil
		}
	}
	return nil, errors.New("it has no container that runs kube-apiserver")
}

func (c *command) fromStock(ctx context.Context, from backup.Stock, flags []string, replace bool) error {
	pki, err := filepath.Abs(from.PKI)
	if err != nil {
		return err
	}
	from.PKI = pki
	h, err := c.openStopped()
	if err != nil {
		return err
	}
	defer h.Close()
	config, files, err := options.FromStock(flags, pki, filepath.Join(h.Root, backup.MigratedFolder))
	if err != nil {
		return usageError{err}
	}
	from.Settings = []backup.File{{Name: "supervisor.yaml", Data: config}}
	for _, f := range files {
		from.Settings = append(from.Settings, backup.File{Name: f.Name, Path: f.Path})
	}
	p := newProgress(c.stderr)
	done, err := backup.FromStock(ctx, h, from, replace, p.tell)
	p.end()
	if occupied := (*backup.OccupiedError)(nil); errors.As(err, &occupied) {
		return usageError{err}
	}
	if err != nil {
		return fmt.Errorf("cannot migrate: %w", err)
	}
	c.tellMigrated(done)
	fmt.Fprintf(c.stdout, "look at %[1]s, then\nsupervisor run --data-dir %[2]s --config %[1]s\n", filepath.Join(h.Root, backup.MigratedFolder, "supervisor.yaml"), h.Root)
	return nil
}

// openStopped opens a data directory on which no supervisor may run.
func (c *command) openStopped() (*datadir.Handle, error) {
	h, err := datadir.Open(c.dataDir)
	if locked := (*datadir.LockedError)(nil); err != nil && !errors.As(err, &locked) {
		return nil, usageError{err}
	}
	return h, err
}

func (c *command) tellMigrated(m backup.Migrated) {
	fmt.Fprintf(c.stdout, "etcd: %d keys, revision %d, %s\n", m.Etcd.Keys, m.Etcd.Revision, humanize.IBytes(uint64(m.Etcd.Bytes)))
	if m.Aside != "" {
		fmt.Fprintf(c.stdout, "what was there is in %s\n", m.Aside)
	}
}

func (c *command) migrateTo() *cobra.Command {
	var (
		to     string
		member etcd.Member
	)
	cmd := &cobra.Command{
		Use:   "to-stock --to FOLDER",
		Short: "Make of a data directory what a stock kube-apiserver and a plain etcd start with",
		Long: `Make a folder of a data directory whose supervisor is stopped, for a stock kube-apiserver and a plain
etcd: etcd/ is etcd's data, with authentication off, and pki/ has certificates and keys under kubeadm's names.
Objects, resource versions, tokens and certificates stay what they are; the data directory does, too. Start kube-apiserver
with the flags that the supervisor had, encryption at rest among them.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usageError{errors.New("--to must name the folder to make")}
			}
			return c.toStock(cmd.Context(), to, member)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&to, "to", "", "folder to make")
	cmd.Flags().StringVar(&member.Name, "etcd-name", "default", "what the member of etcd is called: its --name")
	cmd.Flags().StringVar(&member.PeerURL, "etcd-peer-url", "https://127.0.0.1:2380", "where others find it: its --initial-advertise-peer-urls")
	return cmd
}

func (c *command) toStock(ctx context.Context, to string, member etcd.Member) error {
	if err := isCurrent(c.dataDir); err != nil {
		return err
	}
	h, err := c.openStopped()
	if err != nil {
		return err
	}
	defer h.Close()
	p := newProgress(c.stderr)
	done, err := backup.ToStock(ctx, h, to, member, p.tell)
	p.end()
	if err != nil {
		return fmt.Errorf("cannot migrate: %w", err)
	}
	c.tellMigrated(done)
	fmt.Fprintf(c.stdout, "%[1]s is for etcd --name %[2]s --data-dir %[1]s, %[3]s for kube-apiserver\n", filepath.Join(to, "etcd"), member.Name, filepath.Join(to, "pki"))
	return nil
}
