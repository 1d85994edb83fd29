package main

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestMarksGoByWhatIsPrinted(t *testing.T) {
	for _, c := range []struct {
		metric  string
		clients int
		ratio   float64
		want    string
	}{
		{"req/s", 16, .996, "1.00 met (>= 1.00)"},
		{"req/s", 16, .99, "0.99 missed (>= 1.00)"},
		{"req/s", 1, .5, "0.50"},
		{"p99", 16, .81, "0.81 missed (<= 0.80)"},
		{"p99", 16, .5, "0.50 met (<= 0.80)"},
		{"CPU, same GOGC", 16, math.NaN(), ""},
	} {
		if got := judged(c.ratio, markOf("get", c.metric, c.clients)); got != c.want {
			t.Errorf("%s %v: %q, want %q", c.metric, c.ratio, got, c.want)
		}
	}
}

func TestOnlyWhatIsAServersOwnMayDiffer(t *testing.T) {
	const one = `{"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "generation": 1}, "version": "v1.37.2"}`
	for other, same := range map[string]bool{
		`{"metadata": {"name": "a", "uid": "2", "resourceVersion": "6", "generation": 1}, "version": "v1.37.2+triptych.v1-2-g3"}`: true,
		`{"metadata": {"name": "b", "uid": "1", "resourceVersion": "5", "generation": 1}, "version": "v1.37.2"}`:                  false,
		`{"metadata": {"name": "a", "resourceVersion": "5", "generation": 1}, "version": "v1.37.2"}`:                              false,
		`{"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "generation": 2}, "version": "v1.37.2"}`:                  false,
		`{"metadata": {"name": "a", "uid": "1", "resourceVersion": "5", "generation": 1}, "version": "v1.37.3"}`:                  false,
	} {
		got := text(t, plain(parsed([]byte(one)), "")) == text(t, plain(parsed([]byte(other)), ""))
		if got != same {
			t.Errorf("%s counts as the same: %t", other, got)
		}
	}
}

func text(t *testing.T, value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// One bad window of stock's spoils neither the ratio nor the mark.
func TestTheRatioIsTheMedianOfPairs(t *testing.T) {
	of := func(milliseconds ...int) *measured {
		m := &measured{}
		for _, ms := range milliseconds {
			d := time.Duration(ms) * time.Millisecond
			m.windows = append(m.windows, window{times: []time.Duration{d}, elapsed: d, cpu: d.Seconds()})
		}
		return m
	}
	r := row{sides: []*measured{of(2, 2, 2), of(1, 1, 100)}}
	if got := r.ratio(latency(.5)); got != 2 {
		t.Errorf("p50: %v, want 2", got)
	}
	if got := spread(r.ratios(1, perRequest)); got != "0.02-2.00" {
		t.Errorf("spread: %s", got)
	}
	if got := median(r.ratios(2, rate)); !math.IsNaN(got) {
		t.Errorf("a ratio to a server that is not there: %v", got)
	}
}
