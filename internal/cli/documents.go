package cli

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"triptych.dev/triptych/internal/service"
)

//go:generate sh -c "go run triptych.dev/triptych/cmd/supervisor documents reference > commands.md && mv commands.md ../../docs/reference/"

// documents writes what is generated of the commands themselves.
func (c *command) documents() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "documents",
		Short:  "Write man pages, or the reference of all commands",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print the reference of all commands as Markdown", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := reference(cmd.Root())
			if err != nil {
				return err
			}
			_, err = c.stdout.Write(data)
			return err
		},
	}, &cobra.Command{
		Use: "man FOLDER", Short: "Write man pages into a folder",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("want one folder")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return doc.GenManTree(cmd.Root(), manHeader(), args[0]) },
	})
	return cmd
}

func manHeader() *doc.GenManHeader {
	return &doc.GenManHeader{Section: "8", Source: "Triptych", Manual: "Triptych"}
}

// visible are all commands that help lists, each before those below it.
func visible(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() && below.Name() != "help" {
			all = append(all, visible(below)...)
		}
	}
	return all
}

// reference is all commands as one page.
func reference(root *cobra.Command) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nGenerated of the commands themselves: what `--help` says. `make docs` writes it. DO NOT EDIT. kube-apiserver's flags are in docs/reference/flags.md.\n")
	anchor := func(name string) string {
		return "#" + strings.ReplaceAll(strings.TrimSuffix(name, ".md"), "_", "-")
	}
	for _, cmd := range visible(root) {
		if cmd != root && cmd.Name() == "completion" {
			continue // cobra's own text
		}
		if strings.HasPrefix(cmd.CommandPath(), root.Name()+" completion") {
			continue
		}
		var page bytes.Buffer
		if err := doc.GenMarkdownCustom(cmd, &page, anchor); err != nil {
			return nil, err
		}
		text, _, _ := strings.Cut(page.String(), "\n### SEE ALSO")
		b.WriteString("\n" + strings.TrimRight(text, "\n") + "\n")
	}
	return b.Bytes(), nil
}

// installed are the documents that a host is given, by path.
func installed(root *cobra.Command) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, cmd := range visible(root) {
		var page bytes.Buffer
		if err := doc.GenMan(cmd, manHeader(), &page); err != nil {
			return nil, err
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".8"
		all[filepath.Join(service.Man, name)] = page.Bytes()
	}
	var completion bytes.Buffer
	if err := root.GenBashCompletionV2(&completion, true); err != nil {
		return nil, err
	}
	all[service.Completion] = completion.Bytes()
	return all, nil
}
