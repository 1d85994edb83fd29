// Package child makes processes that cannot outlive this one: each is forked
// from one thread that lives as long as the supervisor does (a parent death
// signal fires when the forking thread ends), holds the read end of a pipe
// whose end of file says that the supervisor is gone, and leads a process group
// of its own, so that a terminal's Ctrl-C reaches the supervisor alone and a
// kill reaches whatever the child started.
package child
