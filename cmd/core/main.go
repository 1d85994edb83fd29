// Command core is the Kubernetes API proper, one tier of Triptych. The
// supervisor starts it.
package main

import (
	"os"

	"triptych.dev/triptych/internal/core"
	"triptych.dev/triptych/internal/process"
)

func main() {
	os.Exit(process.Main(core.NewCommand(), os.Args[1:], os.Stderr))
}
