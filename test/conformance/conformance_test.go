package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"triptych.dev/triptych/test/harness"
)

var (
	namesFlag  = flag.String("names", "ci", "which names: ci or all")
	focusFlag  = flag.String("focus", "", "of these, those that match the regular expression")
	serverFlag = flag.String("server", "ours", "which server: ours, stock or both, one after the other")
	procsFlag  = flag.Int("procs", 4, "how many tests run side by side")
)

func TestMain(m *testing.M) { harness.Main(m, "suite") }

// TestConformance runs upstream's tests of the chosen names against each chosen
// server, and prints how they did.
func TestConformance(t *testing.T) {
	names := harness.Must(choose(*namesFlag, *focusFlag))(t)
	var results []result
	for _, server := range chosenServers(t) {
		t.Run(server, func(t *testing.T) {
			r := conform(t, server, names)
			results = append(results, r)
			for _, failed := range r.failed {
				t.Error(failed)
			}
		})
	}
	printTable(os.Stdout, results)
}

func chosenServers(t *testing.T) []string {
	switch chosen := *serverFlag; chosen {
	case "both":
		return []string{"ours", "stock"}
	case "ours", "stock":
		return []string{chosen}
	default:
		t.Fatalf("-server=%s: say ours, stock or both", chosen)
		return nil
	}
}

// conform starts the server and runs the names against it.
func conform(t *testing.T, server string, names []string) result {
	dir := filepath.Join(harness.BinDir(), "conformance", server)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	api, data := servers[server](t, dir)
	startControllers(t, api, data, dir)
	fmt.Printf("%d tests of upstream run against %s; what they say will be in %s\n", len(names), server, dir)
	return judge(server, names, runSuite(t, api, names, *procsFlag, dir))
}
