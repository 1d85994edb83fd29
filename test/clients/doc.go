// Package clients runs what people run against a Kubernetes API: its own
// controllers and scheduler, kubelets that kwok pretends to be, an operator of
// controller-runtime with webhooks, and helm.
//
//	TestClients ─ start{Ours,Stock} ─ together: every scenario at once, in namespaces of their own
//	                                └ apart: those that kill, one after the other
//
// Each scenario says what its client must see in the end. What fails on ours and
// passes on stock is a bug of ours.
package clients
