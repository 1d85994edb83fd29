package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"triptych.dev/triptych/internal/backup"
	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/wiring"
)

// theirs is an etcd of the user's, and where in it things are.
type theirs struct {
	wiring.Etcd
	prefix string
}

func (e *theirs) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&e.Servers, "etcd-servers", nil, "URLs of the etcd")
	flags.StringVar(&e.CAFile, "etcd-cafile", "", "CA of that etcd")
	flags.StringVar(&e.CertFile, "etcd-certfile", "", "client certificate for that etcd, of a root where it knows users")
	flags.StringVar(&e.KeyFile, "etcd-keyfile", "", "key of that certificate")
	flags.StringVar(&e.prefix, "etcd-prefix", "/registry", "what keys begin with")
}

// reach makes paths absolute, since they will be settings, and asks whether it is there.
func (e *theirs) reach(ctx context.Context) error {
	if len(e.Servers) == 0 {
		return usageError{errors.New("--etcd-servers must name the etcd")}
	}
	if err := options.CheckEtcd("etcd", e.Etcd); err != nil {
		return usageError{err}
	}
	for _, file := range []*string{&e.CAFile, &e.CertFile, &e.KeyFile} {
		if *file == "" {
			continue
		}
		var err error
		if *file, err = filepath.Abs(*file); err != nil {
			return err
		}
	}
	return etcd.Remote{Servers: e.Servers, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, FlagPrefix: "etcd"}.Reach(ctx)
}

// flags are those by which the supervisor uses it.
func (e *theirs) flags() []string {
	all := []string{"--etcd-servers=" + strings.Join(e.Servers, ",")}
	for _, file := range [][2]string{{"cafile", e.CAFile}, {"certfile", e.CertFile}, {"keyfile", e.KeyFile}} {
		if file[1] != "" {
			all = append(all, "--etcd-"+file[0]+"="+file[1])
		}
	}
	return all
}

// settings are the same as a configuration file to lay over others.
func (e *theirs) settings() (string, error) {
	f := options.File{APIVersion: options.APIVersion, Kind: options.Kind, EtcdServers: e.Servers}
	for _, file := range []struct {
		path string
		to   **string
	}{{e.CAFile, &f.EtcdCAFile}, {e.CertFile, &f.EtcdCertFile}, {e.KeyFile, &f.EtcdKeyFile}} {
		if file.path != "" {
			*file.to = &file.path
		}
	}
	data, err := yaml.Marshal(f)
	return string(data), err
}

func (c *command) migrateToEtcd() *cobra.Command {
	var (
		to        theirs
		overwrite bool
	)
	cmd := &cobra.Command{
		Use:   "to-etcd --etcd-servers URL,...",
		Short: "Move the data of the etcd that the supervisor runs to an etcd of yours",
		Long: `Move the data of the etcd that the supervisor runs to an etcd of yours, such as a cluster of three. The
supervisor must be stopped. Every key is copied as it is stored, with what it has left to live, and read back. The data
directory keeps what it has; killed at any point, the command can be run again.

Resource versions go on above all that clients know, which are told that theirs are too old (410) and list anew. Once it is
done the supervisor starts with --etcd-servers alone, and before that not from there: it says so. The revision of that etcd is
raised and its history compacted, for whatever else it holds, too.`,
		Example: `  supervisor migrate to-etcd --data-dir /var/lib/triptych --etcd-servers https://10.0.0.7:2379,https://10.0.0.8:2379 \
    --etcd-cafile ca.crt --etcd-certfile client.crt --etcd-keyfile client.key`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.toEtcd(cmd.Context(), to, overwrite) },
	}
	c.addDataDir(cmd)
	to.addFlags(cmd)
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "take the place of what there is in that etcd below --etcd-prefix, for good")
	return cmd
}

func (c *command) toEtcd(ctx context.Context, to theirs, overwrite bool) error {
	if err := to.reach(ctx); err != nil {
		return err
	}
	if err := holdsEtcd(c.dataDir); err != nil {
		return err
	}
	h, err := c.openStopped()
	if err != nil {
		return err
	}
	defer h.Close()
	target, err := custody.Dial(to.Etcd)
	if err != nil {
		return usageError{err}
	}
	defer target.Close()
	m, err := h.Move()
	if err != nil {
		return err
	}
	if !m.At.IsZero() {
		return c.arriveAgain(ctx, h, m, custody.Relocation{Target: target, Prefix: to.prefix, ID: m.ID})
	}
	if m.ID == "" {
		m.ID = uuid.NewString()
	}
	if err := h.SetMove(m); err != nil {
		return err
	}
	m.Flags = to.flags()
	p := newProgress(c.stderr)
	p.unit = humanize.Comma
	defer p.end()
	return offline(ctx, h.Dir, func(ctx context.Context, at wiring.Etcd, _ *etcd.Client) error {
		source, err := custody.Dial(at)
		if err != nil {
			return err
		}
		defer source.Close()
		r := custody.Relocation{Source: source, Target: target, Prefix: to.prefix, ID: m.ID, Overwrite: overwrite, Tell: p.tell}
		done, err := r.Copy(ctx)
		p.end()
		if occupied := (*custody.NotEmptyError)(nil); errors.As(err, &occupied) {
			return usageError{fmt.Errorf("%w: give an empty one, another --etcd-prefix, or --overwrite", err)}
		}
		if err != nil {
			return fmt.Errorf("cannot migrate, %s is what it was: %w", h.Root, err)
		}
		// From here on nobody serves from the one, and after the next from the other: never from both.
		m.At = time.Now()
		if err := h.SetMove(m); err != nil {
			return err
		}
		if err := r.Arrive(ctx); err != nil {
			return fmt.Errorf("all is there, run it again to say so: %w", err)
		}
		fmt.Fprintf(c.stdout, "moved %s keys of %d kinds, %s, the same in both; the revision was %d, and is %d\n",
			humanize.Comma(done.Keys), done.Ranges, humanize.IBytes(uint64(done.Bytes)), done.From, done.To)
		return c.tellFlags(h, to)
	})
}

// arriveAgain ends a migration that was interrupted when all was there.
func (c *command) arriveAgain(ctx context.Context, h *datadir.Handle, m datadir.Move, r custody.Relocation) error {
	switch arriving, err := r.Begun(ctx); {
	case err != nil:
		return err
	case !arriving:
		return usageError{h.Unmoved()}
	}
	if err := r.Arrive(ctx); err != nil {
		return err
	}
	fmt.Fprintln(c.stdout, "all had been moved, and may be served from there now")
	fmt.Fprintf(c.stdout, "from now on start the supervisor with %s\n", strings.Join(m.Flags, " "))
	return nil
}

func (c *command) tellFlags(h *datadir.Handle, to theirs) error {
	settings, err := to.settings()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "from now on: supervisor run --data-dir %s %s\nor in the configuration file:\n%s", h.Root, strings.Join(to.flags(), " "), settings)
	return nil
}

func (c *command) migrateToEmbedded() *cobra.Command {
	var (
		from    theirs
		replace bool
	)
	cmd := &cobra.Command{
		Use:   "to-embedded --etcd-servers URL,...",
		Short: "Move the data of an etcd of yours to the etcd that the supervisor runs",
		Long: `Move the data of an etcd of yours to the one that the supervisor runs: what migrate to-etcd did, taken back. All
supervisors that use that etcd must be stopped. All that it holds is in the data directory at once, or nothing, with the same
revisions; killed at any point, the command can be run again. No supervisor starts from that etcd any more.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.toEmbedded(cmd.Context(), from, replace) },
	}
	c.addDataDir(cmd)
	from.addFlags(cmd)
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of data that is there and was not moved, which is kept aside")
	return cmd
}

func (c *command) toEmbedded(ctx context.Context, from theirs, replace bool) error {
	if err := from.reach(ctx); err != nil {
		return err
	}
	h, err := c.openStopped()
	if err != nil {
		return err
	}
	defer h.Close()
	source, err := custody.Dial(from.Etcd)
	if err != nil {
		return usageError{err}
	}
	defer source.Close()
	if h.Unmoved() != nil {
		replace = true // that is what is to be taken back
	}
	p := newProgress(c.stderr)
	leave := func(ctx context.Context) (func(context.Context) error, error) {
		return custody.Leave(ctx, source, from.prefix)
	}
	done, err := backup.ToEmbedded(ctx, h, from.Etcd, replace, leave, p.tell)
	p.end()
	if occupied := (*backup.OccupiedError)(nil); errors.As(err, &occupied) {
		return usageError{err}
	}
	if err != nil {
		return fmt.Errorf("cannot migrate: %w", err)
	}
	c.tellMigrated(done)
	fmt.Fprintf(c.stdout, "from now on start the supervisor without --etcd-servers: supervisor run --data-dir %s\n", h.Root)
	return nil
}
