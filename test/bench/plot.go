package main

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// plot writes one file for each scene: bars of ours/stock, with a line
// where both are equal.
func plot(folder string, rows []row) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	by := map[scene][]row{}
	for _, r := range rows {
		by[r.scene] = append(by[r.scene], r)
	}
	for scene, rows := range by {
		name := fmt.Sprintf("ratios-%d.svg", scene.clients)
		if scene.http1 {
			name = fmt.Sprintf("ratios-%d-http1.svg", scene.clients)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(svg(scene, rows)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func svg(scene scene, rows []row) string {
	const left, unit, step, widest = 190, 160, 58, 3.0
	kinds := []struct {
		name, color string
		of          metric
	}{
		{"req/s", "#4477aa", rate}, {"CPU per request", "#ee6677", perRequest}, {"p99", "#ccbb44", latency(.99)},
	}
	b := &strings.Builder{}
	height := 60 + step*len(rows)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", int(left+unit*widest+70), height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="20">ours / stock, %s</text>`+"\n", scene)
	for i, k := range kinds {
		fmt.Fprintf(b, `<rect x="%d" y="28" width="10" height="10" fill="%s"/><text x="%d" y="38">%s</text>`+"\n", left+i*130, k.color, left+14+i*130, k.name)
	}
	for i, r := range rows {
		y := 50 + i*step
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+26, html.EscapeString(r.workload))
		for j, k := range kinds {
			ratio := r.ratio(k.of)
			width := unit * min(ratio, widest)
			fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.0f" height="14" fill="%s"/><text x="%.0f" y="%d">%.2f</text>`+"\n",
				left, y+j*16, width, k.color, left+width+4, y+j*16+12, ratio)
		}
	}
	fmt.Fprintf(b, `<line x1="%d" x2="%[1]d" y1="44" y2="%d" stroke="black" stroke-dasharray="4"/>`+"\n</svg>\n", left+unit, height-8)
	return b.String()
}
