package supervisor

import (
	"reflect"
	"testing"
)

// What a supervisor that starts runs, by how far an upgrade from /old to /new had come
// and which folder its flags name.
func TestWhatRunsAfterAnUpgradeWasInterrupted(t *testing.T) {
	old, emulating, new := release{dir: "/old"}, release{dir: "/new", emulate: "1.37"}, release{dir: "/new"}
	for name, c := range map[string]struct {
		memory memory
		flag   string
		runs   release
		state  string // of what is remembered then; empty is nothing
		back   bool
	}{
		"replacing":                {memory{State: upgradeReplacing, Emulate: "1.37"}, "/old", old, "", false},
		"replacing, new flag":      {memory{State: upgradeReplacing, Emulate: "1.37"}, "/new", emulating, upgradeHeld, true},
		"replacing, same minor":    {memory{State: upgradeReplacing}, "/new", new, upgradeDone, true},
		"held":                     {memory{State: upgradeHeld, Emulate: "1.37"}, "/old", emulating, upgradeHeld, true},
		"held, new flag":           {memory{State: upgradeHeld, Emulate: "1.37"}, "/new", emulating, upgradeHeld, true},
		"held after lifting":       {memory{State: upgradeHeld, Emulate: "1.37", Lifted: true}, "/old", new, upgradeDone, false},
		"lifting":                  {memory{State: upgradeLifting, Emulate: "1.37", Lifted: true}, "/old", new, upgradeDone, false},
		"done":                     {memory{State: upgradeDone, Lifted: true}, "/old", new, upgradeDone, false},
		"done, same minor":         {memory{State: upgradeDone}, "/old", new, upgradeDone, true},
		"done, new flag":           {memory{State: upgradeDone, Lifted: true}, "/new", new, upgradeDone, false},
		"rolling back":             {memory{State: upgradeRollingBack, Emulate: "1.37"}, "/old", old, "", false},
		"rolling back, new flag":   {memory{State: upgradeRollingBack, Emulate: "1.37"}, "/new", old, "", false},
		"another flag":             {memory{State: upgradeDone}, "/other", release{dir: "/other"}, "", false},
		"an upgrade after another": {memory{State: upgradeReplacing, Given: "/first"}, "/first", old, upgradeDone, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.memory
			m.From, m.To = "/old", "/new"
			if m.Given == "" {
				m.Given = "/old"
			}
			runs, after := m.resumed(c.flag)
			if runs.release != c.runs {
				t.Errorf("runs %+v, want %+v", runs.release, c.runs)
			}
			if runs.dir != c.flag && len(runs.said) == 0 {
				t.Error("nothing is said of programs that the flag does not name")
			}
			state := ""
			if after != nil {
				state = after.State
			}
			if state != c.state || after.back() != c.back {
				t.Errorf("remembers %+v, want %q, and a way back: %v", after, c.state, c.back)
			}
			if after == nil {
				return
			}
			// What is remembered means the same at the next start.
			again, then := after.resumed(c.flag)
			if again.release != runs.release || !reflect.DeepEqual(then, after) {
				t.Errorf("a second start runs %+v and remembers %+v, not %+v", again.release, then, after)
			}
		})
	}
}

func TestMinorsAndProtocolsThatFit(t *testing.T) {
	for name, c := range map[string]struct {
		kubernetes       string
		protocol, oldest int32
		fits             bool
	}{
		"the same":            {"v1.37.2+triptych.x", 2, 1, true},
		"an older patch":      {"v1.37.0", 2, 1, true},
		"a minor newer":       {"v1.38.0-beta.1+triptych.x", 2, 1, true},
		"two minors newer":    {"v1.39.0", 2, 1, false},
		"another major":       {"v2.38.0", 2, 1, false},
		"a minor older":       {"v1.36.9", 2, 1, false},
		"the protocol after":  {"v1.37.2", 3, 2, true},
		"the one before":      {"v1.37.2", 1, 0, true},
		"two after":           {"v1.37.2", 4, 3, false},
		"two before":          {"v1.37.2", 0, -1, false},
		"two after, too wide": {"v1.37.2", 4, 1, false},
	} {
		now, err := minorOf("v1.37.2+triptych.y")
		if err != nil {
			t.Fatal(err)
		}
		is := &candidate{dir: "/new"}
		is.Protocol, is.OldestProtocol = c.protocol, c.oldest
		if is.minor, err = minorOf(c.kubernetes); err != nil {
			t.Fatal(err)
		}
		if err := is.fits(now); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
