package vitals

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/internal/control"
)

func of(counts ...uint64) control.Histogram {
	bounds := []float64{1, 2, 4}
	return control.Histogram{Bounds: bounds[:len(counts)-1], Counts: counts[:len(counts)-1], Count: counts[len(counts)-1]}
}

func TestQuantilesAreWherePromQLHasThem(t *testing.T) {
	for name, c := range map[string]struct {
		q    float64
		of   control.Histogram
		want float64
	}{
		"within the first bucket":  {0.5, of(10, 10, 10, 10), 0.5},
		"within another":           {0.5, of(0, 10, 10, 10), 1.5},
		"at a bound":               {0.5, of(5, 10, 10, 10), 1},
		"across empty ones":        {0.75, of(5, 5, 10, 10), 3},
		"beyond the last bound":    {0.99, of(0, 0, 0, 10), 4},
		"none at the very low end": {0, of(0, 0, 10, 10), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := quantile(c.q, c.of); !ok || math.Abs(got-c.want) > 1e-9 {
				t.Errorf("%v %v, want %v", got, ok, c.want)
			}
		})
	}
	for _, none := range []control.Histogram{{}, of(0, 0, 0, 0), {Count: 3}} {
		if got, ok := quantile(0.5, none); ok {
			t.Errorf("%+v has %v", none, got)
		}
	}
}

func TestWhatAHistogramHasCountedSince(t *testing.T) {
	for name, c := range map[string]struct{ before, now, want control.Histogram }{
		"more":              {of(1, 2, 3, 4), of(2, 4, 6, 8), of(1, 2, 3, 4)},
		"nothing":           {of(1, 2, 3, 4), of(1, 2, 3, 4), of(0, 0, 0, 0)},
		"from nothing":      {control.Histogram{}, of(1, 2, 3, 4), of(1, 2, 3, 4)},
		"after a reset":     {of(1, 2, 3, 4), of(1, 1, 1, 1), of(1, 1, 1, 1)},
		"a reset, and more": {of(5, 5, 5, 5), of(0, 0, 0, 9), of(0, 0, 0, 9)},
	} {
		t.Run(name, func(t *testing.T) {
			now := of(c.now.Counts[0], c.now.Counts[1], c.now.Counts[2], c.now.Count)
			if diff := cmp.Diff(c.want, since(c.now, c.before)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(now, c.now); diff != "" {
				t.Errorf("the reading itself was changed: %s", diff)
			}
		})
	}
}

func TestHistogramsAreSummed(t *testing.T) {
	first := of(1, 2, 3, 4)
	var sum control.Histogram
	for _, h := range []control.Histogram{first, of(1, 1, 1, 1), {Bounds: []float64{7}, Counts: []uint64{7}, Count: 7}, {}} {
		add(&sum, h)
	}
	if diff := cmp.Diff(of(2, 3, 4, 5), sum); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(of(1, 2, 3, 4), first); diff != "" {
		t.Errorf("a summand was changed: %s", diff)
	}
}

func TestACounterThatWentBackBeganAgain(t *testing.T) {
	if increase(5, 3) != 2 || increase(3, 5) != 3 || increase(3, 3) != 0 {
		t.Error(increase(5, 3), increase(3, 5), increase(3, 3))
	}
}
