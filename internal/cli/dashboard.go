package cli

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"triptych.dev/triptych/internal/dashboard"
)

func (c *command) dashboard() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Serve a web page of what goes on, on loopback, until it is told to stop",
		Long: `Serve a web page of what status, top, events and logs show, until SIGINT or SIGTERM. It changes nothing. It listens on
loopback alone, and lets in whoever opens the link that it prints, which works once; then it prints another one.`,
		Example: "  supervisor dashboard --data-dir ./data --listen 127.0.0.1:8001",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := c.dir()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			s, err := dashboard.Listen(dashboard.Options{Dir: d, Listen: listen, Logs: append(children(), supervisorLog),
				Announce: func(url string, next bool) { fmt.Fprint(c.stdout, linkText(url, next)) }})
			if errors.As(err, &dashboard.AddressError{}) {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			return s.Serve(ctx)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "the loopback address and port; port 0 is a free one")
	return cmd
}

// linkText is what is printed with a link: it works once, and then there is another.
func linkText(url string, next bool) string {
	if next {
		return fmt.Sprintf("It was opened. For another browser, once: %s\n", url)
	}
	return fmt.Sprintf("Open, once: %s\nThe browser that opens it is let in until this ends; then another link is printed.\n", url)
}
