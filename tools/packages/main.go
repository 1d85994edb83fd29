// Command packages writes the packages of a release for one architecture, or the checksums of
// all that is released.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"triptych.dev/triptych/tools/epoch"
)

func main() {
	r := release{from: from{documents: map[string]string{}}}
	flag.StringVar(&r.bin, "bin", "../bin", "the `folder` of the built programs")
	flag.StringVar(&r.arch, "arch", "amd64", "the `architecture` they are built for: amd64 or arm64")
	flag.StringVar(&r.root, "root", "..", "the `checkout`")
	flag.StringVar(&r.supervisor, "supervisor", "../bin/supervisor", "a `supervisor` that runs here")
	flag.StringVar(&r.version, "version", "", "the `version` of the programs")
	flag.StringVar(&r.maintainer, "maintainer", "Triptych <maintainers@triptych.dev>", "who the packages say to `ask`")
	flag.StringVar(&r.out, "out", "../dist", "the `folder` to write to")
	documents := flag.String("documents", "", "`files` that go along as documentation, with commas")
	formats := flag.String("formats", "deb,rpm,tar.gz", "what to write, with `commas`")
	checksums := flag.Bool("checksums", false, "write SHA256SUMS of what is in -out, and nothing else")
	flag.Parse()
	if err := run(r, *documents, *formats, *checksums); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(r release, documents, formats string, checksums bool) error {
	if checksums {
		return sums(r.out)
	}
	var err error
	if r.time, err = epoch.Time(); err != nil {
		return err
	}
	for _, file := range strings.FieldsFunc(documents, func(c rune) bool { return c == ',' }) {
		r.documents[filepath.Base(file)] = file
	}
	written, err := r.write(strings.Split(formats, ",")...)
	for _, file := range written {
		fmt.Println(file)
	}
	return err
}
