// Command images writes container images of the built programs as OCI layouts, one of all
// tiers and one of each.
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
	s := source{programs: map[string]string{}}
	flag.Func("programs", "`ARCHITECTURE=FOLDER` of built programs, once for each", func(value string) error {
		arch, folder, ok := strings.Cut(value, "=")
		if !ok {
			return fmt.Errorf("want amd64=FOLDER or arm64=FOLDER")
		}
		s.programs[arch] = folder
		return nil
	})
	flag.StringVar(&s.version, "version", "", "the `version` of the programs")
	flag.StringVar(&s.revision, "revision", "", "the `commit` they are built of")
	documents := flag.String("documents", "", "`files` that go along, with commas")
	out := flag.String("out", "../dist", "the `folder` to write to")
	archives := flag.Bool("archives", true, "one file for each image, and no folders")
	flag.Parse()
	s.documents = strings.FieldsFunc(*documents, func(c rune) bool { return c == ',' })
	if err := run(s, *out, *archives); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(s source, out string, archives bool) error {
	var err error
	if s.time, err = epoch.Time(); err != nil {
		return err
	}
	if len(s.programs) == 0 {
		return fmt.Errorf("there are no programs: name them by -programs")
	}
	layouts := out
	if archives {
		if layouts, err = os.MkdirTemp("", "triptych-images"); err != nil {
			return err
		}
		defer os.RemoveAll(layouts)
	}
	written, err := s.write(layouts)
	if err != nil {
		return err
	}
	for _, dir := range written {
		if archives {
			file := filepath.Join(out, filepath.Base(dir)+"-"+s.version+".oci.tar")
			if err := s.archive(dir, file); err != nil {
				return err
			}
			dir = file
		}
		fmt.Println(dir)
	}
	return nil
}
