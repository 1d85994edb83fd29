package screen

import (
	"context"
	"io"
	"os/signal"
	"syscall"

	tea "charm.land/bubbletea/v2"
)

// Run shows the screen on the terminal to until a user quits, ctx ends, or the process is told to: the terminal is then
// as it was before.
func Run(ctx context.Context, to io.Writer, o Options) error {
	program := tea.NewProgram(newModel(o), tea.WithOutput(to), tea.WithoutSignalHandler())
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Quit, and not the context of the program: that would leave its last frame behind.
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	return err
}
