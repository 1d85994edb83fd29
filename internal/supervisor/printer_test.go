package supervisor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/supervisor/options"
)

// What libraries log is for the log alone, and as much as --v and --vmodule say.
func TestLoggingFlagsCountInTheSupervisor(t *testing.T) {
	for name, c := range map[string]struct {
		options.Logs
		want string
	}{
		"default":     {options.Logs{}, "always"},
		"--v":         {options.Logs{Verbosity: 3}, "always,at 3"},
		"--vmodule":   {options.Logs{VModule: "printer_test=3"}, "always,at 3"},
		"another's":   {options.Logs{VModule: "other=3"}, "always"},
		"JSON":        {options.Logs{JSON: true}, "always"},
		"JSON, --v=3": {options.Logs{JSON: true, Verbosity: 3}, "always,at 3"},
	} {
		t.Run(name, func(t *testing.T) {
			path, out := filepath.Join(t.TempDir(), "log"), &bytes.Buffer{}
			p := newPrinter(out, path, c.Logs)
			klog.InfoS("always")
			klog.V(3).InfoS("at 3")
			p.Say("told")
			p.Close()
			log, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, message := range []string{"always", "at 3"} {
				if strings.Contains(string(log), `"`+message+`"`) {
					got = append(got, message)
				}
			}
			if strings.Join(got, ",") != c.want || !strings.Contains(string(log), "told") || strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), "told") {
				t.Errorf("logged %q, want %s:\n%s\nprinted:\n%s", got, c.want, log, out)
			}
			for line := range strings.Lines(string(log) + out.String()) {
				if json.Valid([]byte(line)) != c.JSON {
					t.Errorf("JSON is %v: %s", !c.JSON, line)
				}
			}
		})
	}
}
