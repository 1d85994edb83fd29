package supervisor

import (
	"testing"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
)

// Two processes of one name would be taken for each other.
func TestANumberIsTakenUntilItsProcessIsGone(t *testing.T) {
	o := options.New()
	o.SecurePort = 0
	s, err := listenAll(o, datadir.Dir{Root: t.TempDir()}, tier.Order, tier.Aggregator)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	add := func() *place {
		t.Helper()
		p, err := s.add(tier.Core)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := s.of(tier.Core)[0]
	if second := add(); first.index != 0 || second.index != 1 {
		t.Errorf("numbers %d, %d", first.index, second.index)
	}
	s.leave(first)
	if others := s.of(tier.Core); len(others) != 1 || others[0].index != 1 || len(s.endpoints()[tier.Core]) != 1 {
		t.Errorf("others see %d places", len(others))
	}
	if third := add(); third.index != 2 {
		t.Errorf("number %d is given while its process is there", third.index)
	}
	s.remove(tier.Core, first)
	if fourth := add(); fourth.index != 0 {
		t.Errorf("number %d, though 0 is free", fourth.index)
	}
}
