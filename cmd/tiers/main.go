// Command tiers is the program of each tier, by the name that it is called by: docs/adr/0055-tiers-share-a-file.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"triptych.dev/triptych/internal/aggregator"
	"triptych.dev/triptych/internal/core"
	"triptych.dev/triptych/internal/extensions"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/tier"
)

func main() {
	command := core.NewCommand
	switch name := filepath.Base(os.Args[0]); tier.Name(name) {
	case tier.Core:
	case tier.Extensions:
		command = extensions.NewCommand
	case tier.Aggregator:
		command = aggregator.NewCommand
	default:
		fmt.Fprintf(os.Stderr, "error: %s: no tier has this name: run it by a link that is called after one of %v\n", name, tier.Order)
		os.Exit(process.ExitConfiguration)
	}
	os.Exit(process.Main(command(), os.Args[1:], os.Stderr))
}
