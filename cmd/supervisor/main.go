// Command supervisor runs a Kubernetes API server as three processes.
package main

import (
	"context"
	"os"

	"triptych.dev/triptych/internal/cli"
)

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
