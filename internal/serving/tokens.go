package serving

import "time"

// kube-apiserver remembers for 10 s that a token is good. Here the head and core share
// that time, so that the two together remember no longer.
const (
	// HeadTokenMemory is how long the head does what core has said.
	HeadTokenMemory = 5 * time.Second
	// CoreTokenMemory is how long core does behind a head. A core that is the head has
	// all of the time.
	CoreTokenMemory = 5 * time.Second
)
