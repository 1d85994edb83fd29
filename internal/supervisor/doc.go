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
// Each child is a state machine of package lifecycle. The phase of the whole
// follows from their states:
//
//	           all ready at once         one is not
//	Starting --------------------> Ready <----------> Degraded
//	    |                            |                    |
//	    +----------------------------+--------------------+---- stop --> Stopping
package supervisor
