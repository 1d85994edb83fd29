package users

import (
	"os"
	"strings"
	"testing"
)

var all = []string{"etcd", "extensions", "core", "aggregator"}

func TestIdsAreTheirOwnAndTheSameAgain(t *testing.T) {
	ids, err := Pick(65000, 65499, all, "/some/folder", 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	for name, id := range ids {
		if id.UID < 65000 || id.UID > 65499 || id.UID != id.GID || seen[id.UID] {
			t.Errorf("%s is %+v", name, id)
		}
		seen[id.UID] = true
	}
	again, err := Pick(65000, 65499, all, "/another/folder", ids["etcd"].UID)
	if err != nil || again["etcd"] != ids["etcd"] || again["core"] != ids["core"] {
		t.Errorf("%v, %v", again, err)
	}
}

func TestIdsInUseArePassedBy(t *testing.T) {
	me := uint32(os.Geteuid())
	if free(me, 1, map[uint32]bool{}) {
		t.Errorf("%d is a user", me)
	}
	taken, err := running()
	if err != nil || !taken[me] {
		t.Errorf("%v, %v", taken, err)
	}
	if free(65100, 4, map[uint32]bool{65102: true}) || !free(65100, 4, nil) {
		t.Error("ids of processes are taken, all others free")
	}
	if _, err := Pick(65532, 65535, all, "", 0); err == nil || !strings.Contains(err.Error(), "--user-range") {
		t.Errorf("nobody's id is given away: %v", err) // 65534
	}
}

func TestNamedUsersMustExistAndHaveNoRights(t *testing.T) {
	for name, said := range map[string]string{"no-such-user": "useradd", "root": "without rights"} {
		if _, err := Named(map[string]string{"core": name}); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Named(map[string]string{"core": "nobody"}); err != nil {
		t.Error(err)
	}
}
