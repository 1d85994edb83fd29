package serving

import "testing"

// deep takes about a KiB of stack a call.
//
//go:noinline
func deep(n int) byte {
	var room [1 << 10]byte
	if n == 0 {
		return room[n]
	}
	return deep(n-1) + room[n]
}

// What a request does not have to pay: go test -bench Stack ./internal/serving
func BenchmarkStack(b *testing.B) {
	for name, reserve := range map[string]func(){"grown in steps": func() {}, "reserved": ReserveStack} {
		b.Run(name, func(b *testing.B) {
			done := make(chan byte)
			for b.Loop() {
				go func() {
					reserve()
					done <- deep(16)
				}()
				<-done
			}
		})
	}
}
