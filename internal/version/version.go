// Package version says which build this is.
package version

// Version is what /version calls gitVersion: the Kubernetes version with the
// build of Triptych. The Makefile stamps it with -ldflags -X.
var Version = "v1.37.2+triptych.dev"
