// Package docs runs what documents tell people to run: the blocks of commands in README.md, docs/tutorial and docs/how-to, one after
// the other, as root in namespaces of their own, where /etc, /root, /usr/local and /var/lib are empty copies and the usual ports are free.
//
// A block of commands is fenced as sh. A comment right before it says what the test needs to know, and readers do not see it:
//
//	<!-- not run: REASON -->          it cannot be run here
//	<!-- exits with N -->             it fails, with that code
//	<!-- stays in the foreground -->  it goes on in another terminal; the next block waits until it is ready
//	<!-- before: COMMANDS -->         what a reader has and the test has not
//
// The tutorial with what it prints is docs/tutorial/transcript.md, which `make transcript` writes.
package docs
