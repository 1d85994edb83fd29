package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// ofTheSupervisor are flags that the supervisor has a part in besides its own, and
// which part that is.
var ofTheSupervisor = map[string]string{
	"audit-log-path": "writes it", "audit-log-maxage": "rotates", "audit-log-maxbackup": "rotates",
	"audit-log-maxsize": "rotates", "audit-log-compress": "rotates",
	"permit-port-sharing": "listens", "permit-address-sharing": "listens",
}

const heading = `# Flags

Generated from the flag sets of the processes. DO NOT EDIT.

` + "`supervisor run`" + ` takes all of them, on its command line and in its configuration file. A mark says which process a flag
is for. ` + "`--version`" + ` of kube-apiserver is ` + "`supervisor version`" + ` here. Where a default differs from kube-apiserver's, the supervisor
gives its own to the processes: certificates, etcd, ` + "`--authorization-mode=Node,RBAC`" + ` and what else ` + "`supervisor run --help`" + ` and the
package internal/supervisor/options tell.

| flag | default | supervisor | extensions | core | aggregator |
|---|---|---|---|---|---|
`

// document returns the table of flags as Markdown.
func document() []byte {
	own := pflag.NewFlagSet("supervisor", pflag.ContinueOnError)
	o := options.New()
	o.AddFlags(own)
	out := bytes.NewBufferString(heading)
	own.VisitAll(func(f *pflag.Flag) {
		flag, forwarded := flagtable.Lookup(f.Name)
		part := ofTheSupervisor[f.Name]
		if !f.Hidden {
			part = "yes"
		}
		fmt.Fprintf(out, "| `--%s` | %s | %s |", f.Name, code(f.DefValue), part)
		for _, name := range tier.Order {
			mark := ""
			if forwarded && slices.Contains(flag.Tiers, name) {
				mark = "yes"
			}
			fmt.Fprintf(out, " %s |", mark)
		}
		out.WriteString("\n")
	})
	return out.Bytes()
}

func code(value string) string {
	if value == "" || value == "<nil>" {
		return ""
	}
	return "`" + strings.NewReplacer("|", "\\|", "\n", " ").Replace(value) + "`"
}
