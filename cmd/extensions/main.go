// Command extensions serves custom resources, one tier of Triptych. The
// supervisor starts it.
package main

import (
	"os"

	"triptych.dev/triptych/internal/extensions"
	"triptych.dev/triptych/internal/process"
)

func main() {
	os.Exit(process.Main(extensions.NewCommand(), os.Args[1:], os.Stderr))
}
