// Package lifecycle is the life of one child of the supervisor as a state
// machine, and nothing else: events and the time go in, actions come out. It
// starts no goroutine, sets no timer and knows no process, so every transition
// can be tested.
//
//	         Start                    ready
//	Idle ------------> Starting ------------------> Ready
//	 |                 ^  |   ^                    |  ^
//	 |        backoff  |  |   | restart      lost  v  | ready
//	 |        elapsed  |  |   | asked for         Unready
//	 |                 |  |   |                    |
//	 |                 |  +---|---------+----------+
//	 |                 |      |         |
//	 |             Backoff    |         +-- exit ------------> Backoff, or
//	 |                ^       |         |     Failed if restarting cannot help
//	 |                |       |         +-- stop or restart -> Stopping
//	 |                | exit  | exit    +-- silent too long -> Killing
//	 |                |       |
//	 |                Stopping ---- budget spent, or hurry --> Killing
//	 |                   |                                       |
//	 +------ stop ----> Stopped <------------- exit -------------+
//
// A machine that is held goes the way of one that is stopped, from any state that is not
// over, to Held; from there it is resumed to Starting, or stopped for good.
//
// Killing ends as Stopping does: what follows the exit is the machine's goal
// (start again at once, after a backoff, never, when it is resumed, or Failed). No successor is
// ever started before the exit of the process before it was seen.
package lifecycle
