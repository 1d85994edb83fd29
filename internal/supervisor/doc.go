// Package supervisor is the parent of all tiers: it opens their listeners,
// makes what they are given, starts them, watches them, restarts the one that
// breaks, and stops them in order. One goroutine, the chain, owns the state of
// everything; what happens elsewhere reaches it as events.
//
//	signals --+
//	control --+--> chain --actions--> processes, timers
//	timers  --+      ^
//	exits   --+      +---- observers: stages, health, who is there
//
// The insecure port, if there is one, is served here: it opens when the head is
// ready for the first time, goes by the same news of the head as the chain, and
// is closed first of all, without anybody waiting for it.
//
// Each child is a state machine of package lifecycle. The phase of the whole
// follows from their states:
//
//	           all ready at once         one is not
//	Starting --------------------> Ready <----------> Degraded
//	    |                            |                    |
//	    +----------------------------+--------------------+---- stop --> Stopping
package supervisor
