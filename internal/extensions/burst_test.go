package extensions

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestABurstIsManyChangesAndEndsWhenThereAreNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		b := &burst{tell: func(on bool) { told = append(told, on) }}
		want := func(when string, want ...bool) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %v, want %v", when, told, want)
			}
		}
		for range many * 3 { // one CRD a second, for minutes
			b.changed()
			time.Sleep(lately / 4)
		}
		want("changes one by one")
		for range many {
			b.changed()
		}
		want("many at once", true)
		for range 10 {
			time.Sleep(lately * 3 / 4)
			b.changed()
		}
		want("and some more", true)
		time.Sleep(lately + time.Millisecond)
		want("and none", true, false)
	})
}
