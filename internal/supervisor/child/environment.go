package child

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// passed are the variables a child gets: what the Go runtime, TLS, DNS, proxies
// and Kubernetes itself read. Everything else stays with the supervisor, such
// as NOTIFY_SOCKET, by which a child could speak for the whole service.
var passed = []string{
	"PATH", "HOME", "TMPDIR", "TZ", "LANG", "USER",
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"LOCALDOMAIN", "RES_OPTIONS",
}

// resourceAttributes is where OpenTelemetry reads who the process is.
const resourceAttributes = "OTEL_RESOURCE_ATTRIBUTES="

// WithAttributes returns env with attributes, KEY=VALUE,..., by which traces tell
// the process from others, on top of those that are there. Empty ones go: OpenTelemetry
// takes no value for none, and an empty one in a list for a mistake.
func WithAttributes(env []string, attributes string) []string {
	out, all := []string{}, []string{}
	for _, line := range env {
		if given, ok := strings.CutPrefix(line, resourceAttributes); ok {
			all = slices.DeleteFunc(strings.Split(given, ","), func(s string) bool { return strings.TrimSpace(s) == "" })
			continue
		}
		out = append(out, line)
	}
	return append(out, resourceAttributes+strings.Join(append(all, attributes), ","))
}

// WithMemoryLimit returns env with what has a Go program collect its garbage more often before it
// reaches limit, in bytes, unless the user has set that. 0 is no limit.
func WithMemoryLimit(env []string, limit int64) []string {
	if limit == 0 || SetsMemoryLimit(env) {
		return env
	}
	return append(slices.Clone(env), fmt.Sprintf("GOMEMLIMIT=%d", SoftLimit(limit)))
}

// WithCPUs returns env with what has a Go program run on no more than n CPUs at once, unless the user
// has set that. 0 is as many as it may.
func WithCPUs(env []string, n int) []string {
	if n == 0 || sets(env, "GOMAXPROCS") {
		return env
	}
	return append(slices.Clone(env), fmt.Sprintf("GOMAXPROCS=%d", n))
}

// SetsMemoryLimit tells whether the user has set that in env.
func SetsMemoryLimit(env []string) bool { return sets(env, "GOMEMLIMIT") }

func sets(env []string, name string) bool {
	return slices.ContainsFunc(env, func(line string) bool { return strings.HasPrefix(line, name+"=") })
}

// SoftLimit is the size, in bytes, at which a program with that limit collects its garbage
// more often. The rest is for what the runtime does not count.
func SoftLimit(limit int64) int64 {
	if limit == 0 {
		return math.MaxInt64
	}
	return limit / 10 * 9
}

// passedPrefixes pass whole families: KUBE_FEATURE_... and the like.
var passedPrefixes = []string{"KUBE_", "OTEL_"}

// Environment returns the part of env, lines of NAME=value, that children get.
func Environment(env []string) []string {
	kept := []string{}
	for _, line := range env {
		name, _, _ := strings.Cut(line, "=")
		family := slices.ContainsFunc(passedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if family || slices.Contains(passed, name) {
			kept = append(kept, line)
		}
	}
	return kept
}
