// Package confine keeps a child of the supervisor from taking the CPU, the memory and the
// threads that the others need, by whatever the host allows:
//
//	CPU      a cgroup of less weight while it has to yield, else nice; a cgroup for a limit
//	memory   the supervisor kills what passes its limit; a cgroup does so as well,
//	         between two looks
//	threads  a cgroup
//
// Nothing here is an error: a child that cannot be confined runs all the same, and
// the status says so.
package confine
