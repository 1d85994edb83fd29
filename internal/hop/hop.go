// Package hop is the call from one tier to the next: the Forwarder is its
// client end, an http.Handler that hands a request to the delegate as bytes,
// and the Server is the end that takes it.
//
//	client --> tier's handler chain --> Forwarder ==mTLS, HTTP/1.1==> Server --> delegate's handler chain
//
// Two things decide how it is built. A hop is paid for by every request, so
// the Forwarder writes and reads HTTP/1.1 on the caller's own goroutine
// instead of handing over to those of net/http's Transport, and the Server
// does without what net/http's does for clients it does not know. And a delegate
// that dies must never make a client lose or repeat a write, so the Forwarder
// has to know exactly what was sent and what was answered: outcome.go says
// what follows from it.
//
// What the client wrote reaches the delegate as it was: path, query, Host and
// header values byte for byte. Only what belongs to one connection is replaced
// (framing, Connection, Keep-Alive, TE).
package hop

import "time"

// Every time this package waits for. The server's idle time is the longer one:
// if the server closed first, a request might be under way to it.
const (
	serverIdleTimeout = 5 * time.Minute
	clientIdleTimeout = 90 * time.Second
	// readHeaderTimeout bounds how long a peer may take to send the head of a
	// request. Peers are our own tiers.
	readHeaderTimeout = 30 * time.Second
	// keepAlive notices a machine that went away without a word.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	// dialTimeout bounds connecting and the TLS handshake together. The peer is
	// near, and Available said that it listens.
	dialTimeout = 10 * time.Second
	// headPatience is how long the head of a request waits for the first bytes
	// of the body, to leave in one packet with them. A delegate may answer from
	// the head alone.
	headPatience = 2 * time.Millisecond
	// defaultBodyLinger is how long a client that speaks HTTP/1 gets to finish
	// a body that nobody wants any more, before its connection is closed.
	defaultBodyLinger = 5 * time.Second
	// defaultTunnelLinger: see tunnel.
	defaultTunnelLinger = time.Minute
	// confirmPatience is how long a watch on a lane goes on before its forwarder says that it has the head of the answer.
	confirmPatience = 30 * time.Second
	// lingerTimeout is how long a peer gets to read the answer to what was not read to its end.
	lingerTimeout = 500 * time.Millisecond
	// farewellTimeout bounds saying farewell to a peer that does not read. The
	// connection is idle, so its buffers are empty.
	farewellTimeout = time.Second
)

const (
	// maxRequestHead leaves room for the identity on top of the 1 MiB that the
	// head takes from clients.
	maxRequestHead = 4 << 20
	// maxAnswerHead bounds what an answer's header, or its trailer, may hold.
	maxAnswerHead = 1 << 20
	// maxStreams of one HTTP/2 connection. The informers of a tier share one
	// connection, and 100, the usual limit, once made them queue.
	maxStreams = 1000
	// maxIdle connections are kept for the next requests. There is no limit on
	// those in use.
	maxIdle = 512
	// maxReusedBody is how much of a body our server reads after its handler is
	// done with it. With more, it may close the connection without having said
	// so, and the next request on it would be lost. At one byte more, which is
	// net/http's own bound, a handler that closes the body gives up.
	maxReusedBody = 256<<10 - 1
)
