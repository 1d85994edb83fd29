package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/go-cmp/cmp"
)

// differences are the workloads that the servers answered differently.
type differences struct{ found []string }

// report is an error if there are any.
func (d *differences) report() error {
	if len(d.found) == 0 {
		return nil
	}
	return fmt.Errorf("ours and stock answer differently, so their speed says nothing: %s", strings.Join(d.found, "; "))
}

// checks number the requests that are compared, apart from those that are timed.
var checks atomic.Int64

const firstCheck = 1_000_000_000

// compare sends one request to all crowds and compares the answers.
func (d *differences) compare(w workload, crowds []*crowd) error {
	n := firstCheck + checks.Add(1)
	var first any
	for i, c := range crowds {
		if w.before != nil {
			if _, _, err := c.send(c.clients[0], *w.before, n); err != nil {
				return err
			}
		}
		code, body, err := c.send(c.clients[0], w, n)
		if err != nil {
			return err
		}
		if answer := (reply{code, plain(parsed(body), w.own)}); i == 0 {
			first = answer
		} else if diff := cmp.Diff(first, answer); diff != "" {
			name := fmt.Sprintf("%s (%s)", w.name, c.server.name)
			if !slices.Contains(d.found, name) {
				d.found = append(d.found, name)
			}
			fmt.Fprintf(os.Stderr, "DIFFERENT answers to %s (-%s +%s):\n%.2000s\n", w.name, crowds[0].server.name, c.server.name, diff)
		}
	}
	return nil
}

// reply is what both are to have in common.
type reply struct {
	Code int
	Body any
}

// ownFields are values that no two servers have in common, by their key.
var ownFields = map[string]bool{"uid": true, "resourceVersion": true, "creationTimestamp": true, "time": true, "storageVersionHash": true}

// ownVersion is what our version has that stock's has not.
var ownVersion = regexp.MustCompile(`\+triptych\.[-\w.]+`)

// parsed is text where it is no JSON.
func parsed(body []byte) (value any) {
	if err := json.Unmarshal(body, &value); err != nil {
		return string(body)
	}
	return value
}

// plain replaces what is a server's own, and what is in more.
func plain(value any, more string) any {
	switch value := value.(type) {
	case map[string]any:
		into := map[string]any{}
		for key, v := range value {
			if _, deep := v.(map[string]any); !deep && (ownFields[key] || key == more) {
				v = "some " + key
			}
			into[key] = plain(v, more)
		}
		return into
	case []any:
		for i := range value {
			value[i] = plain(value[i], more)
		}
	case string:
		return ownVersion.ReplaceAllString(value, "")
	}
	return value
}

// unexpected is nil if the workload may be answered by code.
func (w workload) unexpected(code int, what string) error {
	if code == w.code {
		return nil
	}
	return errors.New(what + fmt.Sprintf(" answers %d, want %d", code, w.code))
}
