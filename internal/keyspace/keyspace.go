// Package keyspace is which keys of etcd are whose: what each tier stores, and what
// it has to read beside. The keys are kube-apiserver's, so that it can take the data
// back.
//
//	PREFIX/SEGMENT/...                    core's, for the segments of the generated table
//	PREFIX/apiregistration.k8s.io/...     the head's
//	PREFIX/... in the gaps between them   extensions': CRDs, custom resources, the record of custody
//
// etcd can allow and not forbid, and a custom resource may have any group; but groups
// of custom resources have a dot, which no segment of the table has.
package keyspace

import (
	"path"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/tier"
)

//go:generate go run ./generate zz_generated.builtin.go

// apiServices is the first segment of what the head stores.
const apiServices = "apiregistration.k8s.io"

// CompactionKey is where API servers agree on who compacts, and how far.
const CompactionKey = "compact_rev_key"

// Span is the keys From and after it, and before To.
type Span struct{ From, To string }

// One tells whether the span is one key.
func (s Span) One() bool { return s.To == s.From+"\x00" }

// Right is what a tier may do with the keys of a span.
type Right struct {
	Span
	// Write: read them too. Otherwise read them alone.
	Write bool
}

// Root is what all keys below --etcd-prefix begin with, as API servers read that flag.
func Root(prefix string) string { return strings.TrimSuffix(path.Join("/", prefix), "/") + "/" }

// Below is the span of all keys that begin with prefix, which does not end in the
// largest byte there is.
func Below(prefix string) Span {
	end := []byte(prefix)
	end[len(end)-1]++
	return Span{prefix, string(end)}
}

// Stored returns the spans of what the tier stores below --etcd-prefix, in order. Those
// of two tiers have nothing in common, and those of all leave nothing out.
func Stored(name tier.Name, prefix string) []Span {
	root := Root(prefix)
	switch name {
	case tier.Core:
		return spans(root, builtIn)
	case tier.Aggregator:
		return spans(root, []string{apiServices})
	case tier.Extensions:
		return gaps(Below(root), spans(root, append(slices.Clone(builtIn), apiServices)))
	}
	return nil
}

func spans(root string, segments []string) []Span {
	all := make([]Span, 0, len(segments))
	for _, segment := range segments {
		all = append(all, Below(root+segment+"/"))
	}
	slices.SortFunc(all, func(a, b Span) int { return strings.Compare(a.From, b.From) })
	return all
}

// gaps returns what is left of whole without the others, which are in order.
func gaps(whole Span, others []Span) []Span {
	var left []Span
	at := whole.From
	for _, s := range others {
		if at < s.From {
			left = append(left, Span{at, s.From})
		}
		at = s.To
	}
	return append(left, Span{at, whole.To})
}

// Rights returns what the tier may do in an etcd: with what it stores, with the keys that
// API servers only ask for, and with the one by which they agree on compaction, which is
// for who compacts to write. Each span is there once.
func Rights(name tier.Name, prefix string, compacts bool) []Right {
	var all []Right
	for _, s := range Stored(name, prefix) {
		all = append(all, Right{s, true})
	}
	if name != tier.Extensions { // in whose gaps it is
		all = append(all, Right{point(Root(prefix) + "health"), false})
	}
	if name == tier.Core {
		// Nothing has the bare prefix of a resource for its key: the answer tells the revision.
		for _, segment := range builtIn {
			all = append(all, Right{point(Root(prefix) + segment), false})
		}
	}
	return append(all, Right{point(CompactionKey), compacts})
}

// point is the span of one key.
func point(key string) Span { return Span{key, key + "\x00"} }
