// Package harness runs the real thing for black-box tests: the binaries that
// make builds, under a supervisor, on ports that nobody else uses, and the stock
// kube-apiserver beside them with an equal PKI and equal flags.
//
//	TestMain ── Main ── builds once, runs the tests, ends what is shared
//	Run(t) ── Cluster ┐
//	                  ├─ *API: clients, raw requests, kubectl
//	RunStock(t) ─ Stock ┘
//
// What starts a process takes a Cleanup and ends it there; what must not be left
// is looked for in /proc. Nothing here waits for time to pass: Eventually waits
// for a condition, with a bound.
package harness
