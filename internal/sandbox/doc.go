// Package sandbox takes from the process that calls it what it has no need of: files but
// its own, listening, other programs, other processes. It is called once, at the start,
// before the process has heard from anybody, and nothing takes it back.
//
//	Landlock   which files can be opened and which TCP ports be bound; no signal to others
//	seccomp    which system calls there are
//	prctl      no core dump, and nobody but root looks into the process
//
// Who it runs as and what it sees of the file system is set from outside: see
// internal/supervisor/child.
package sandbox
