// Command generate writes the flag table, as Go and, of the one that it was built
// with, as Markdown, from the flag sets of the tiers. It links all of them, which
// the supervisor does not.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/aggregator"
	"triptych.dev/triptych/internal/core"
	"triptych.dev/triptych/internal/extensions"
	"triptych.dev/triptych/internal/tier"
)

func main() {
	source, err := table()
	if err == nil {
		err = os.WriteFile(os.Args[1], source, 0o644)
	}
	if err == nil {
		err = os.WriteFile(os.Args[2], document(), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// table returns the Go source of the table.
func table() ([]byte, error) {
	sets := map[tier.Name]*pflag.FlagSet{
		tier.Extensions: extensions.NewCommand().Flags(),
		tier.Core:       core.NewCommand().Flags(),
		tier.Aggregator: aggregator.NewCommand().Flags(),
	}
	all := pflag.NewFlagSet("all", pflag.ContinueOnError) // visits by name
	for _, name := range tier.Order {
		all.AddFlagSet(sets[name])
	}
	out := &bytes.Buffer{}
	out.WriteString("// Code generated from the flag sets of the tiers. DO NOT EDIT.\n\npackage flagtable\n\n" +
		"import \"triptych.dev/triptych/internal/tier\"\n\n// Flags are the flags of the tiers by name.\nvar Flags = []Flag{\n")
	all.VisitAll(func(f *pflag.Flag) {
		if f.Name == "wiring" || f.Name == "help" {
			return // between the supervisor and the tiers
		}
		fmt.Fprintf(out, "{Name: %q, Shorthand: %q, Type: %q, Default: %q, NoOptDefVal: %q, Deprecated: %t,\nUsage: %q,\nTiers: []tier.Name{",
			f.Name, f.Shorthand, f.Value.Type(), f.DefValue, f.NoOptDefVal, f.Deprecated != "", f.Usage)
		for _, name := range tier.Order {
			if sets[name].Lookup(f.Name) != nil {
				fmt.Fprintf(out, "tier.%s,", constants[name])
			}
		}
		out.WriteString("}},\n")
	})
	out.WriteString("}\n")
	return format.Source(out.Bytes())
}

var constants = map[tier.Name]string{tier.Extensions: "Extensions", tier.Core: "Core", tier.Aggregator: "Aggregator"}
