package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/supervisor/options"
)

func (c *command) config() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write, check, show and compare configuration files",
		Long: `Write, check, show and compare configuration files: --config FILE, what is in FILE.d,
and what is in --config-dir, each laid over those before it, in the order of names.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.configDefault(), c.configValidate(), c.configShow(), c.configDiff(), c.configExplain(), c.configSchema())
	return cmd
}

func (c *command) configDefault() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "default",
		Short: "Print a file with every default, to begin with",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			o, err := options.Parse(nil)
			if err != nil {
				return err
			}
			return c.printFile(output, o)
		},
	}
	addOutput(cmd, &output, fileFormats...)
	return cmd
}

var fileFormats = []string{"yaml", "json", "table"}

// printFile prints what is in force by o, each line of YAML with where it is from.
func (c *command) printFile(output string, o *options.Options) error {
	switch output {
	case "", "yaml":
		return showCommented(c.stdout, o)
	case "json":
		return showJSON(c.stdout, o.Effective())
	case "table":
		t := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "SETTING\tVALUE\tFROM\tA CHANGE IS")
		for _, s := range o.List() {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.Value, s.From, options.ReachOf(s.Name))
		}
		return t.Flush()
	}
	return unknownFormat(output, fileFormats)
}

func unknownFormat(output string, formats []string) error {
	last := len(formats) - 1
	return usageError{fmt.Errorf("--output=%s is not known: want %s or %s", output, join(formats[:last]), formats[last])}
}

// showCommented adds to each line with a value that somebody gave where that is from.
func showCommented(w io.Writer, o *options.Options) error {
	var b strings.Builder
	if err := showYAML(&b, o.Effective()); err != nil {
		return err
	}
	given := map[string]string{}
	for _, s := range o.List() {
		if s.From != options.Default {
			given[s.Name] = s.From
		}
	}
	var path []string // of the line, by its indentation
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(line, "\n")
		name, _, _ := strings.Cut(strings.TrimLeft(line, " "), ":")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if !strings.HasPrefix(name, "- ") {
			path = append(path[:min(depth, len(path))], strings.Trim(name, `"`))
		}
		if from := given[strings.Join(path, ".")]; from != "" && !strings.HasPrefix(name, "- ") {
			line += " # " + from
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// addRunFlags adds the flags of run, of which the first are shown.
func addRunFlags(cmd *cobra.Command) *options.Options {
	o := options.New()
	o.AddFlags(cmd.Flags())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = f.Name != "config" && f.Name != "config-dir" })
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	_ = cmd.MarkFlagDirname("config-dir")
	return o
}

// validity is what validate prints.
type validity struct {
	Valid bool     `json:"valid"`
	Files []string `json:"files"`
	// Problems are what has to be mended, one a line.
	Problems []string `json:"problems,omitempty"`
}

func (c *command) configValidate() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check files before anybody uses them",
		Long: `Check files before anybody uses them: exits with 0 if run would take them, or with 64 and a
line for each mistake. The flags of run may be given too. Nothing is started or written.`,
		Example: "  supervisor config validate --config /etc/triptych/supervisor.yaml",
		Args:    noArguments,
	}
	o := addRunFlags(cmd)
	addOutput(cmd, &output, "json", "yaml")
	cmd.RunE = func(*cobra.Command, []string) error {
		files, err := o.Sources()
		if err == nil {
			err = o.Load()
		}
		v := validity{Valid: err == nil, Files: append([]string{}, files...)}
		if err != nil {
			v.Problems = strings.Split(strings.TrimSpace(err.Error()), "\n")
		}
		switch output {
		case "":
			return c.sayValidity(v, err)
		case "json":
			return silently(asUsage(err), showJSON(c.stdout, v))
		case "yaml":
			return silently(asUsage(err), showYAML(c.stdout, v))
		}
		return unknownFormat(output, []string{"json", "yaml"})
	}
	return cmd
}

func (c *command) sayValidity(v validity, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(c.stdout, "valid: %s\n", join(append(v.Files, "the command line")))
		return err
	}
	for _, problem := range v.Problems {
		fmt.Fprintf(c.stderr, "error: %s\n", problem)
	}
	return silently(asUsage(err), nil)
}

func (c *command) configShow() *cobra.Command {
	var output string
	var effective bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print files as one, or all that counts",
		Long: `Print files as one, as they are laid over one another, and behind each value where it is from.
With --effective print every setting, defaults and the given flags of run among them: a
file that makes the same supervisor.`,
		Example: "  supervisor config show --effective --config /etc/triptych/supervisor.yaml --replicas core=3",
		Args:    noArguments,
	}
	o := addRunFlags(cmd)
	addOutput(cmd, &output, fileFormats...)
	cmd.Flags().BoolVar(&effective, "effective", false, "with defaults and flags")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := o.Load(); err != nil {
			return usageError{err}
		}
		if effective {
			return c.printFile(output, o)
		}
		return c.printFile(output, o.Given())
	}
	return cmd
}

func (c *command) configDiff() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Compare the files with what runs, and tell what each change needs",
		Long: `Compare the files, as the running supervisor was told of them, with what is in force there,
and tell what it takes for each change to count. Nothing changes. Exits with 0 if nothing differs and
with 3 if something does.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.reread(cmd, output, 0, true) },
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func (c *command) reload() *cobra.Command {
	var output string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration again, and put in force what can change live",
		Long: `Read the configuration again, as SIGHUP does, and put in force what can change live: replicas and
memory limits. What needs a restart of a tier or of the supervisor is named, and then the exit code is 3. With
a mistake in it nothing changes. supervisor config diff tells it all beforehand.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.reread(cmd, output, timeout, false) },
	}
	c.addDataDir(cmd)
	addOutput(cmd, &output, "json", "yaml")
	addTimeout(cmd, &timeout)
	return cmd
}

func (c *command) reread(cmd *cobra.Command, output string, timeout time.Duration, dry bool) error {
	show, ok := reloadFormats[output]
	if !ok {
		return unknownFormat(output, []string{"json", "yaml"})
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := contextWithin(cmd, timeout)
	defer cancel()
	done, err := client.Reload(ctx, dry)
	if err != nil {
		return c.at(err)
	}
	if err := show(c.stdout, done); err != nil {
		return err
	}
	return verdict(done, dry)
}

func verdict(done *control.Reload, dry bool) error {
	differs := len(done.Waiting) > 0
	for _, change := range done.Changes {
		if change.Outcome == control.Failed {
			return fmt.Errorf("cannot put %s in force: %s", change.Setting, change.Problem)
		}
		differs = differs || dry || change.Outcome == control.NeedsRestart
	}
	if differs {
		return differsError{}
	}
	return nil
}

var reloadFormats = map[string]func(io.Writer, *control.Reload) error{
	"": showReload, "json": showJSON[*control.Reload], "yaml": showYAML[*control.Reload],
}

func showReload(w io.Writer, done *control.Reload) error {
	if len(done.Changes)+len(done.Waiting) == 0 {
		_, err := fmt.Fprintln(w, "nothing differs")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	if len(done.Changes) > 0 {
		fmt.Fprintln(t, "SETTING\tIN FORCE BEFORE\tCONFIGURED\tOUTCOME\tWHAT TO DO")
	}
	for _, c := range done.Changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Setting, cmp.Or(c.From, "-"), cmp.Or(c.To, "-"), c.Outcome, cmp.Or(strings.Join(c.Commands, "; "), c.Problem, "-"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, command := range done.Waiting {
		fmt.Fprintf(w, "still to be done since an earlier reload: %s\n", command)
	}
	return nil
}

func (c *command) configExplain() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:               "explain [SETTING]",
		Short:             "Say what a setting is, or list all",
		Example:           "  supervisor config explain memoryLimits\n  supervisor config explain flags.audit-log-path",
		ValidArgsFunction: cobra.FixedCompletions(options.Settings(), cobra.ShellCompDirectiveNoFileComp),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{errors.New("want one setting, or none for all")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.explainAll(output)
			}
			e, ok := options.ExplainSetting(args[0])
			if !ok {
				hint := "supervisor config explain lists all"
				if near := flagtable.Nearest(args[0], options.Settings()); near != "" {
					hint = "did you mean " + near + "?"
				}
				return usageError{fmt.Errorf("there is no setting %s: %s", args[0], hint)}
			}
			return c.printExplained(output, e)
		},
	}
	addOutput(cmd, &output, "json", "yaml")
	return cmd
}

func (c *command) explainAll(output string) error {
	var all []options.Explained
	for _, name := range options.Settings() {
		e, _ := options.ExplainSetting(name)
		all = append(all, e)
	}
	switch output {
	case "json":
		return showJSON(c.stdout, all)
	case "yaml":
		return showYAML(c.stdout, all)
	case "":
		t := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
		for _, e := range all {
			fmt.Fprintf(t, "%s\t%s\n", e.Name, e.Description)
		}
		return t.Flush()
	}
	return unknownFormat(output, []string{"json", "yaml"})
}

func (c *command) printExplained(output string, e options.Explained) error {
	switch output {
	case "json":
		return showJSON(c.stdout, e)
	case "yaml":
		return showYAML(c.stdout, e)
	case "":
		fmt.Fprintf(c.stdout, "%s: %s\n\n  %s\n\n", e.Name, e.Type, e.Description)
		t := tabwriter.NewWriter(c.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintf(t, "  flag\t%s\n  default\t%s\n  a change is\t%s\n", cmp.Or(e.Flag, "-"), cmp.Or(e.Default, "-"), e.Reach)
		if len(e.Tiers) > 0 {
			fmt.Fprintf(t, "  for\t%v\n", e.Tiers)
		}
		return t.Flush()
	}
	return unknownFormat(output, []string{"json", "yaml"})
}

func (c *command) configSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of the file, for editors",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			data, err := options.Schema()
			if err != nil {
				return err
			}
			_, err = c.stdout.Write(data)
			return err
		},
	}
}
