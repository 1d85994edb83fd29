package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestThePlotOfReplicas(t *testing.T) {
	var steps []step
	for n := 1; n <= 4; n++ {
		w := window{times: make([]time.Duration, 100*n), elapsed: time.Second}
		steps = append(steps, step{replicas: n, by: map[string]*measured{"get": {windows: []window{w}}, "create": {windows: []window{w, w}}}})
	}
	plot := svgOfSteps(steps, "100m")
	texts, circles := 0, 0
	for d := xml.NewDecoder(strings.NewReader(plot)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "circle" {
			circles++
		} else if ok && start.Name.Local == "text" {
			texts++
		}
	}
	if circles != 8 || texts != 1+2*4+2 || strings.Contains(plot, "%!") || !strings.Contains(plot, "create: 100 to 400") {
		t.Errorf("%d points and %d texts:\n%s", circles, texts, plot)
	}
}
