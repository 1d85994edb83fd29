// Package tier is the vocabulary of the chain: the three tiers, the order in
// which they delegate to one another, and the stages a process of a tier
// reports of itself. Every other package, every log line and every document
// uses these words.
//
//	aggregator --hop--> core --hop--> extensions
package tier

import (
	"fmt"
	"slices"
)

// Name names a tier. The program of the process that serves it is called the same.
type Name string

const (
	// Extensions serves CustomResourceDefinitions and custom resources. It
	// delegates to nobody: what it does not know is a 404.
	Extensions Name = "extensions"
	// Core serves the Kubernetes API proper and delegates to Extensions. In direct
	// mode it is the head.
	Core Name = "core"
	// Aggregator is the head: it owns the secure port, authenticates, serves
	// APIServices and delegates to Core.
	Aggregator Name = "aggregator"
)

// Order lists the tiers from the last delegate to the head. Start-up follows
// it, stopping follows it backwards, and no other place states it.
var Order = []Name{Extensions, Core, Aggregator}

// UpTo returns the tiers of a chain with the given head, in Order. With Aggregator
// these are all; with Core it is the direct mode, which has no aggregator.
func UpTo(head Name) []Name {
	return Order[:slices.Index(Order, head)+1]
}

// Parse returns the tier called s, or an error that lists the tiers there are.
func Parse(s string) (Name, error) {
	if n := Name(s); slices.Contains(Order, n) {
		return n, nil
	}
	return "", fmt.Errorf("unknown tier %q: want one of %v", s, Order)
}

// Delegate returns the tier that n hands unknown requests to; ok is false for
// Extensions, which has none.
func (n Name) Delegate() (delegate Name, ok bool) {
	if i := slices.Index(Order, n); i > 0 {
		return Order[i-1], true
	}
	return "", false
}
