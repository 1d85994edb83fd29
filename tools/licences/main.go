// Command licences writes which modules are linked into the programs under which licences, and
// the texts that have to go along with them.
package main

import (
	"flag"
	"fmt"
	"os"

	"triptych.dev/triptych/tools/linked"
)

func main() {
	root := flag.String("root", "..", "the `checkout`")
	list := flag.String("list", "", "write the list, as Markdown, to this `file`")
	texts := flag.String("texts", "", "write all texts to this `file`")
	flag.Parse()
	if err := run(*root, *list, *texts); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(root, list, texts string) error {
	modules, err := linked.Modules(root)
	if err != nil {
		return err
	}
	if list != "" {
		content, err := linked.List(modules)
		if err != nil {
			return err
		}
		if err := os.WriteFile(list, content, 0o644); err != nil {
			return err
		}
	}
	if texts != "" {
		content, err := linked.Texts(modules)
		if err != nil {
			return err
		}
		if err := os.WriteFile(texts, content, 0o644); err != nil {
			return err
		}
	}
	return linked.Check(modules)
}
