package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/wiring"
)

func (c *command) moveExtensions() *cobra.Command {
	var (
		to      control.MoveTarget
		toMain  bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "move-extensions (--to-servers URL,... | --to-main)",
		Short: "Move CRDs and custom resources to an etcd of their own, or back",
		Long: `Move CRDs and custom resources to an etcd of their own, or back to that of all the
rest. The bulk is copied while everything goes on. Then custom resources are answered
503 with Retry-After until the rest is copied and both etcds were found to be the same;
everything else goes on. Whatever interrupts it, nothing is lost and it can be run again.

Start the supervisor with --extensions-etcd-servers, or without, from then on: it
refuses to serve from the wrong etcd. What was moved stays where it was unless
--delete-source is given.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkTarget(&to, toMain); err != nil {
				return usageError{err}
			}
			ctx, cancel := contextWithin(cmd, timeout)
			defer cancel()
			return c.move(ctx, to)
		},
	}
	c.addDataDir(cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&to.Servers, "to-servers", nil, "URLs of the etcd to move to")
	fs.StringVar(&to.CAFile, "to-cafile", "", "CA of that etcd")
	fs.StringVar(&to.CertFile, "to-certfile", "", "client certificate for that etcd")
	fs.StringVar(&to.KeyFile, "to-keyfile", "", "key of that certificate")
	fs.BoolVar(&toMain, "to-main", false, "move to the etcd of all the rest")
	fs.BoolVar(&to.DeleteSource, "delete-source", false, "delete what was moved where it was")
	addTimeout(cmd, &timeout)
	return cmd
}

// checkTarget also makes paths what they are for the supervisor, which is in another
// folder.
func checkTarget(to *control.MoveTarget, toMain bool) error {
	if toMain == (len(to.Servers) > 0) {
		return errors.New("want one of --to-servers and --to-main")
	}
	if err := options.CheckEtcd("to", wiring.Etcd{Servers: to.Servers, CAFile: to.CAFile, CertFile: to.CertFile, KeyFile: to.KeyFile}); err != nil {
		return err
	}
	for _, file := range []*string{&to.CAFile, &to.CertFile, &to.KeyFile} {
		if *file == "" {
			continue
		}
		var err error
		if *file, err = filepath.Abs(*file); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) move(ctx context.Context, to control.MoveTarget) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	done, err := client.MoveExtensions(ctx, to)
	if err != nil {
		return c.at(err)
	}
	fmt.Fprintf(c.stdout, "moved %d keys, %d bytes, the same in both; custom resources were away for %.1f s\n", done.Keys, done.Bytes, done.AwaySeconds)
	if to.DeleteSource {
		fmt.Fprintf(c.stdout, "deleted %d keys where they were\n", done.Deleted)
	}
	fmt.Fprintf(c.stdout, "from now on start the supervisor with %s\n", done.Flags)
	return nil
}
