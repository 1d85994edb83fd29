package main

import (
	"fmt"
	"slices"
)

// scene is one table: so many clients of one protocol.
type scene struct {
	clients int
	http1   bool
	// few: only the workloads in the foreground.
	few bool
}

func (s scene) String() string {
	protocol := "HTTP/2"
	if s.http1 {
		protocol = "HTTP/1.1"
	}
	if s.clients == 1 {
		return "1 client, " + protocol
	}
	return fmt.Sprintf("%d clients, %s", s.clients, protocol)
}

var (
	shortScenes = []scene{{clients: 1}, {clients: 16}, {clients: 64, few: true}, {clients: 16, http1: true, few: true}}
	longScenes  = []scene{{clients: 1}, {clients: 16}, {clients: 64}, {clients: 1, http1: true}, {clients: 16, http1: true}, {clients: 64, http1: true}}
	// foreground are the workloads of scenes with few, and those that a stock server
	// with our GOGC does too.
	foreground = []string{"get", "list 500", "patch", "create"}
)

// compareScenes prints the tables. All is ours, stock and, if there is one, stock
// with our GOGC.
func compareScenes(all []*server, found *differences, s settings) (rows []row, err error) {
	scenes := shortScenes
	if s.long {
		scenes = longScenes
	}
	for _, scene := range scenes {
		printHead(scene)
		for _, w := range workloads {
			often := slices.Contains(foreground, w.name)
			if !s.only.MatchString(w.name) || scene.few && !often {
				continue
			}
			sides := all
			if !often || scene.clients != 16 {
				sides = all[:2]
			}
			r, err := compare(w, sides, scene, found, s)
			if err != nil {
				return nil, fmt.Errorf("%s with %s: %w", w.name, scene, err)
			}
			fmt.Println(r)
			rows = append(rows, r)
		}
	}
	return rows, nil
}
