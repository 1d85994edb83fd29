package serving

import (
	"context"

	"k8s.io/apiserver/pkg/endpoints/request"
)

// stackRoom is what the filters, handlers and encoders of a request take of a goroutine's stack, about, in bytes.
const stackRoom = 24 << 10

// ReserveStack grows the stack of the goroutine that calls it to what serving a request takes, at once. A new
// goroutine begins with a few KiB, and the runtime doubles them whenever they are full, copying and adjusting every
// frame there is: several times a request, deep in the chain, where there are many (BenchmarkStack). Whoever is about
// to serve a request calls it while there is little to copy. What is not used is given back by the garbage collector.
//
// Watches do not: they would keep what they do not use for as long as they last, 16 KiB each in the head.
func ReserveStack() { frame(0) }

// ReserveStackAgain is ReserveStack for where a request may have come to another goroutine, that of the filter of timeouts.
func ReserveStackAgain(ctx context.Context) {
	if info, ok := request.RequestInfoFrom(ctx); !ok || info.Verb != "watch" {
		ReserveStack()
	}
}

// frame has a frame of stackRoom, for which the runtime makes room when it is called. It is called with 0, which the
// compiler does not know, and so never clears what it asks for.
//
//go:noinline
func frame(n int) byte {
	if n == 0 {
		return 0
	}
	var room [stackRoom]byte
	return room[n]
}
