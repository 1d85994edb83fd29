package diff

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scene is a story that is told to both servers. Each has a namespace of its own,
// ${ns}, and an API group, ${group}, which no other scene and no other play uses.
// ${hook} and ${hookCA} are the URL and the CA of a server for webhooks.
type scene struct {
	name string
	// aggregation: it is about what there is not in direct mode.
	aggregation bool
	steps       []step
}

// step is one request.
type step struct {
	// name is unique in the scene; "" is what do says.
	name string
	// do is what both must answer, the method and the path: "200 GET /version".
	do string
	// body is JSON unless head says another Content-Type.
	body string
	// head are lines of "Name: value".
	head []string
	// as is who asks: "" is the administrator, "nobody" shows no credentials, and
	// anything else is "user" or "user:group,group" with a certificate.
	as string
	// http1 sends it over HTTP/1.1; otherwise it is HTTP/2.
	http1 bool
	// keep names values of the answer, by their path in JSON, that later steps may
	// use: {"version": "metadata.resourceVersion"} is ${version}.
	keep map[string]string
	// aggregation: as that of a scene.
	aggregation bool
	// settles has the step repeated until both answer as they must: that depends on
	// what servers do in their own time.
	settles bool
}

func (s step) title() string {
	if s.name != "" {
		return s.name
	}
	title := append([]string{s.do}, s.head...)
	if s.as != "" {
		title = append(title, "as "+s.as)
	}
	if s.http1 {
		title = append(title, "over HTTP/1.1")
	}
	return strings.Join(title, ", ")
}

// parts of do.
func (s step) parts() (code int, method, target string) {
	words := strings.SplitN(s.do, " ", 3)
	code, err := strconv.Atoi(words[0])
	if err != nil || len(words) != 3 {
		panic("not a step: " + s.do)
	}
	return code, words[1], words[2]
}

// variable is ${name}.
var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// fill puts in values. One that is missing fails the test: the step would mean
// something else.
func fill(t *testing.T, text string, values map[string]string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		value, ok := values[match[2:len(match)-1]]
		if !ok {
			t.Errorf("%s is not known in %q; known are %q", match, text, slices.Sorted(maps.Keys(values)))
		}
		return value
	})
}

// filled returns the step with all values in place.
func (s step) filled(t *testing.T, values map[string]string) step {
	t.Helper()
	s.do, s.body = fill(t, s.do, values), fill(t, s.body, values)
	s.head = slices.Clone(s.head)
	for i := range s.head {
		s.head[i] = fill(t, s.head[i], values)
	}
	return s
}

// has tells whether the step has the header.
func (s step) has(name string) bool {
	return slices.ContainsFunc(s.head, func(line string) bool { return strings.HasPrefix(line, name+":") })
}
