// Command generate writes the matrix of who holds what into docs/explanation/security.md.
package main

import (
	"fmt"
	"os"

	"triptych.dev/triptych/internal/supervisor/security"
)

func main() {
	if _, err := security.Between("../../../docs/explanation/security.md", "matrix", security.Table()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
