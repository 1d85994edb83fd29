package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/invitation"
	"triptych.dev/triptych/internal/supervisor"
)

func (c *command) joinToken() *cobra.Command {
	var ttl time.Duration
	var listen, output string
	cmd := &cobra.Command{
		Use:   "join-token",
		Short: "Make a token with which another host joins, once",
		Long: fmt.Sprintf(`Make a token with which another host joins the cluster, once: it is handed the CAs and
their keys, the key that signs service-account tokens, and this host's configuration
with the files it names. Whoever has the token becomes an administrator, so hand it on as
you would a password. It is worth something for --ttl, at most %s, and until it is used.`, supervisor.MaxInvitation),
		Example: `  supervisor join-token --data-dir ./data | ssh root@other supervisor join --data-dir /var/lib/triptych`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" && output != "yaml" {
				return usageError{fmt.Errorf("--output=%s is not known: want json or yaml", output)}
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			ctx, cancel := contextWithin(cmd, statusTimeout)
			defer cancel()
			made, err := client.Invite(ctx, listen, ttl)
			if err != nil {
				return c.at(err)
			}
			switch output {
			case "json":
				return showJSON(c.stdout, made)
			case "yaml":
				return showYAML(c.stdout, made)
			}
			fmt.Fprintf(c.stderr, "For one host, until %s, at %s:\n", made.Expires.Local().Format(time.DateTime), made.Address)
			_, err = fmt.Fprintln(c.stdout, made.Token)
			return err
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is worth something")
	cmd.Flags().StringVar(&listen, "listen", "", "HOST:PORT where the other host fetches it all; by default a free port of the advertised address")
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func (c *command) join() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Make this host one more of a cluster, by a token",
		Long: `Make a data directory with what another host hands over for the token of its
supervisor join-token: read from standard input, or --token-file. Then start with the
configuration that is in it.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.accept(cmd.Context(), cmd.InOrStdin(), file) },
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&file, "token-file", "", "file with the token; by default it is read from standard input")
	return cmd
}

func (c *command) accept(ctx context.Context, stdin io.Reader, file string) error {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, 1<<12))
	if err != nil {
		return err
	}
	token, err := invitation.ParseToken(string(text))
	if err != nil {
		return usageError{err}
	}
	h, err := datadir.Open(c.dataDir) // before the token is spent
	if err != nil {
		return usageError{err}
	}
	defer h.Close()
	if _, err := os.Stat(filepath.Join(h.PKI(), "ca.crt")); err == nil {
		return usageError{fmt.Errorf("%s has keys of a cluster already: join with another data directory", h.Root)}
	}
	bundle, err := invitation.Accept(ctx, token)
	if err != nil {
		return fmt.Errorf("cannot join: %w", err)
	}
	if err := bundle.Unpack(h.Dir); err != nil {
		return fmt.Errorf("cannot join: %w", err)
	}
	fmt.Fprintf(c.stdout, "joined: look at %[1]s, then\nsupervisor run --data-dir %[2]s --config %[1]s\n",
		filepath.Join(h.Root, filepath.FromSlash(supervisor.JoinedConfig)), h.Root)
	return nil
}
