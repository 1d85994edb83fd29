package diff

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

// play is one performance of the scenes.
type play struct {
	ours, stock *side
	// n sets the names of this play apart from those of others.
	n int
	// direct: ours has no aggregator.
	direct bool
	// before is called ahead of each scene.
	before func(t *testing.T, scene int)

	requests, differences, kept int
}

func (p *play) sides() []*side { return []*side{p.stock, p.ours} }

// perform plays all scenes that apply and logs the count.
func (p *play) perform(t *testing.T, scenes []scene) {
	for i, sc := range scenes {
		if p.direct && sc.aggregation {
			continue
		}
		if p.before != nil {
			p.before(t, i)
		}
		t.Run(sc.name, func(t *testing.T) { p.scene(t, sc) })
	}
	t.Logf("%d requests at each, %d differences, %d kept", p.requests, p.differences, p.kept)
}

func (p *play) scene(t *testing.T, sc scene) {
	name := strings.ReplaceAll(sc.name, " ", "-")
	ns := fmt.Sprintf("diff-%d-%s", p.n, name)
	for _, s := range p.sides() {
		s.learn(t)
		s.values = map[string]string{
			"n": fmt.Sprint(p.n), "ns": ns, "group": fmt.Sprintf("%s.diff%d.example.com", name, p.n),
			"hook": s.hook.URL, "hookCA": base64.StdEncoding.EncodeToString(s.hook.CA.CertPEM()),
		}
		s.Kubectl(t, "create", "namespace", ns)
		// What controllers would do.
		s.Kubectl(t, "create", "serviceaccount", "default", "-n", ns)
	}
	for _, st := range sc.steps {
		if p.direct && st.aggregation {
			continue
		}
		p.step(t, sc, st)
	}
}

// step has both answer and compares.
func (p *play) step(t *testing.T, sc scene, st step) {
	want, _, _ := st.parts()
	p.requests++
	told := map[*side]answer{}
	codes := func() error {
		var wrong []error
		var wait sync.WaitGroup
		answers := make([]response, 2)
		for i, s := range p.sides() { // side by side: watches last
			wait.Go(func() { answers[i] = s.send(t, st.filled(t, s.values)) })
		}
		wait.Wait()
		for i, s := range p.sides() {
			r := answers[i]
			told[s] = s.normal(r)
			code := 0 // the stream breaks
			if r.Response != nil {
				code = r.StatusCode
			}
			if code != want {
				wrong = append(wrong, fmt.Errorf("%s answers %s %.300s %v", s.name, told[s].Status, r.body, r.err))
			}
			for name, path := range st.keep {
				s.values[name] = valueAt(r.body, path)
			}
		}
		return errors.Join(wrong...)
	}
	compare := func() string { return cmp.Diff(told[p.stock], told[p.ours]) }
	if st.settles {
		harness.Eventually(t, patience, st.title(), func() error {
			if err := codes(); err != nil {
				return err
			}
			if diff := compare(); diff != "" && keptFor(sc, st) == "" {
				return errors.New(short(diff))
			}
			return nil
		})
	} else if err := codes(); err != nil {
		p.differences++
		t.Errorf("%s: %v", st.title(), err)
		return
	}
	diff, why := compare(), keptFor(sc, st)
	switch {
	case diff != "" && why == "":
		p.differences++
		t.Errorf("%s (- stock, + ours)\n%s", st.title(), short(diff))
	case diff != "":
		p.kept++
		t.Logf("%s differs: %s", st.title(), why)
	case why != "":
		t.Logf("%s does not differ, though %s", st.title(), why)
	}
}

// valueAt is the text at a path of keys in JSON.
func valueAt(body []byte, path string) string {
	var at any
	if json.Unmarshal(body, &at) != nil {
		return ""
	}
	for key := range strings.SplitSeq(path, ".") {
		object, _ := at.(map[string]any)
		at = object[key]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

func short(diff string) string {
	lines := strings.Split(diff, "\n")
	return strings.Join(lines[:min(len(lines), 60)], "\n")
}
