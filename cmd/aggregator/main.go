// Command aggregator is the head of the API server, one tier of Triptych. The
// supervisor starts it.
package main

import (
	"os"

	"triptych.dev/triptych/internal/aggregator"
	"triptych.dev/triptych/internal/process"
)

func main() {
	os.Exit(process.Main(aggregator.NewCommand(), os.Args[1:], os.Stderr))
}
