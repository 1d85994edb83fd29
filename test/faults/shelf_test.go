package faults

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// What nobody knows the outcome of, and what was used for long, is left for something new.
func TestObjectsAreLeftForNewOnes(t *testing.T) {
	s := &shelf{}
	s.begin(7)
	first := s.names()
	for range worn - 1 {
		s.used(Op{Name: first[0], Verb: Get, Outcome: Done})
	}
	s.used(Op{Name: first[1], Verb: Get, Outcome: Unknown})
	s.used(Op{Name: sentinel, Verb: Patch, Outcome: Unknown})
	if now := s.names(); !slices.Equal(now, first) {
		t.Errorf("%v became %v", first, now)
	}
	s.used(Op{Name: first[0], Verb: Get, Outcome: Done})
	s.used(Op{Name: first[2], Verb: Patch, Outcome: Unknown})
	now := s.names()
	if now[0] == first[0] || now[1] != first[1] || now[2] == first[2] || now[3] != first[3] {
		t.Errorf("%v became %v", first, now)
	}
	if all := s.all(); len(all) != objectsPerKind+2 || !slices.Contains(all, first[2]) || !slices.Contains(all, now[2]) {
		t.Errorf("the round had %v", all)
	}
}

// A row of the table is all rounds of a fault, void ones and findings too.
func TestARowSumsTheRoundsOfAFault(t *testing.T) {
	var rounds []*Round
	for i := range 100 {
		r := &Round{Server: "ours", Fault: "f", Requests: 10, Failed: map[string]int{"503": 1}, Recovery: time.Duration(i+1) * time.Second, Budget: time.Hour}
		if i == 3 {
			r.Void, r.Lost, r.Relists = "slow", 1, 2
			r.problem("lost")
		}
		rounds = append(rounds, r)
	}
	want := "| f | ours | 100 | 1 | 1000 | 503: 100 | 51s | 1m39s | 1m40s | 1h0m0s | 1 | 0 | 2 | 1 |\n"
	if got := table(rounds); !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A fault that may fail no read is held to it from its begin on.
func TestReadsThatFailAreHeldAgainstARound(t *testing.T) {
	r := &Round{}
	r.judgeReads([]Op{
		{Verb: Get, Failure: "503", Return: 5},
		{Verb: Get, Failure: "503", Return: 15},
		{Verb: Patch, Failure: "503", Return: 15},
		{Verb: Get, Return: 15},
	}, 10)
	if len(r.Problems) != 1 {
		t.Errorf("%v", r.Problems)
	}
}

// Who waits for a CPU knows: the processes under test wait as long.
func TestAMetronomeIsSlowedByOthers(t *testing.T) {
	quiet := startMetronome()
	<-time.After(4 * beat)
	before := quiet.end()
	stop := make(chan struct{})
	for range 8 * runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			for {
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	runtime.GOMAXPROCS(16 * runtime.NumCPU()) // or they wait for each other in here
	busy := startMetronome()
	<-time.After(8 * beat)
	if after := busy.end(); before < 1 || after < 1.5 {
		t.Errorf("%v became %v", before, after)
	}
	close(stop)
}
