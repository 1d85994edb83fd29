// Package faults puts a control plane under a steady load, breaks one thing at a
// time, and judges what clients saw by what they may rely on: no acknowledged
// write is lost, the history of every object is that of one register, watches are
// in order and whole, and nothing that exists is said not to.
//
// A Scene is what runs; a round is one fault under load, on objects of its own.
// docs/explanation/faults.md says what came of each fault.
package faults
