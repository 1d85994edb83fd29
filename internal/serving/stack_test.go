package serving

import (
	"runtime"
	"sync"
	"testing"
)

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

func TestAReservedStackIsThereAndIsGivenBack(t *testing.T) {
	const goroutines = 200
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.StackInuse
	}
	before := inUse()
	var reserved, ended sync.WaitGroup
	end := make(chan struct{})
	reserved.Add(goroutines)
	for range goroutines {
		ended.Go(func() {
			ReserveStack()
			reserved.Done()
			<-end
		})
	}
	reserved.Wait()
	defer ended.Wait()
	defer close(end)
	if grown := int64(inUse() - before); grown < goroutines*stackRoom {
		t.Errorf("%d goroutines have %d bytes of stack, want %d each", goroutines, grown, stackRoom)
	}
	for range 5 { // each halves what is not used
		runtime.GC()
	}
	if kept := int64(inUse() - before); kept > goroutines*stackRoom/2 {
		t.Errorf("%d goroutines that wait keep %d bytes of stack", goroutines, kept)
	}
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
