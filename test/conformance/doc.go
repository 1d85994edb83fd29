// Package conformance runs tests of Kubernetes' own conformance suite: those
// that need an API server, its controllers and at most a node on paper. names.txt
// lists them, slow.txt those that the CI leaves out.
//
//	TestConformance ─ startOurs | startStock ─ startControllers ─ runSuite ─ judge
//
// Upstream's unchanged programs run them, so that what passes here is what its
// authors meant: its e2e.test, its kube-controller-manager, and ginkgo, which
// knows what may run side by side.
package conformance
