// Command sbom writes a bill of materials of the built programs, in CycloneDX's JSON.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"triptych.dev/triptych/tools/epoch"
)

func main() {
	var s source
	flag.StringVar(&s.bin, "bin", "../bin", "the `folder` of the built programs")
	flag.StringVar(&s.root, "root", "..", "the `checkout`")
	flag.StringVar(&s.version, "version", "unknown", "the `version` of the programs")
	out := flag.String("o", "../bin/triptych.cdx.json", "the `file` to write")
	flag.Parse()
	if err := run(s, *out); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(s source, out string) error {
	var err error
	if s.time, err = epoch.Time(); err != nil {
		return err
	}
	bom, err := bill(s)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
