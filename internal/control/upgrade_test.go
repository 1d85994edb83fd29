package control

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestAnUpgradeIsAskedForAndItsEndIsTold(t *testing.T) {
	want := UpgradeRequest{Action: UpgradeBegin, BinDir: "/new", Hold: true, ReadyWithin: time.Minute, Settle: time.Second}
	var why error
	c := serve(t, &fake{upgrade: func(asked UpgradeRequest) (Upgraded, error) {
		if asked != want {
			t.Errorf("asked for %+v", asked)
		}
		return Upgraded{Lines: []string{"done"}}, why
	}})
	if got, err := c.Upgrade(t.Context(), want); err != nil || !reflect.DeepEqual(got.Lines, []string{"done"}) {
		t.Errorf("got %+v %v", got, err)
	}
	for _, c2 := range []struct {
		err                 error
		refused, rolledBack bool
	}{
		{errors.New("no"), false, false},
		{RefusedError{errors.New("no")}, true, false},
		{RolledBackError{errors.New("no")}, false, true},
	} {
		why = c2.err
		_, err := c.Upgrade(t.Context(), want)
		if err == nil || err.Error() != "no" || errors.As(err, &RefusedError{}) != c2.refused || errors.As(err, &RolledBackError{}) != c2.rolledBack {
			t.Errorf("%T arrived as %T %v", c2.err, err, err)
		}
	}
}
