package serving

// stackRoom is what the filters, handlers and encoders of a request take of a goroutine's stack, about, in bytes.
const stackRoom = 24 << 10

// ReserveStack grows the stack of the goroutine that calls it to what serving a request takes, at once. A new
// goroutine begins with a few KiB, and the runtime doubles them whenever they are full, copying and adjusting every
// frame there is: deep in the chain, three times in a request, where that costs a tenth of its CPU. Whoever is about
// to serve a request calls it while there is little to copy. What is not used is given back by the garbage collector.
func ReserveStack() { _ = frame(0) }

// frame has a frame of stackRoom. Its result depends on n, so that the frame is not optimized away.
//
//go:noinline
func frame(n int) byte {
	var room [stackRoom]byte
	return room[n]
}
