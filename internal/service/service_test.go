package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/tier"
)

// built is a folder with programs that say version.
func built(t *testing.T, version string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range programs() {
		put(t, filepath.Join(folder, name), name+" "+version)
	}
	return folder
}

// sharing is the same with one file for all tiers.
func sharing(t *testing.T, version string) string {
	t.Helper()
	folder := built(t, version)
	put(t, filepath.Join(folder, shared), "tiers "+version)
	for _, name := range tier.Order {
		path := filepath.Join(folder, string(name))
		if err := errors.Join(os.Remove(path), os.Symlink(shared, path)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func actions(steps []Step) map[string]string {
	all := map[string]string{}
	for _, s := range steps {
		all[s.Path] = s.Action
	}
	return all
}

var documents = map[string][]byte{Completion: []byte("complete")}

func TestInstallIsDoneOnceAndKeepsSettings(t *testing.T) {
	h := &Host{Root: t.TempDir(), Dry: true}
	first := built(t, "1")
	if steps, err := h.Install(first, documents); err != nil || actions(steps)[Programs+"/core"] != Made {
		t.Errorf("%v %v", steps, err)
	}
	if left, _ := os.ReadDir(h.Root); len(left) > 0 {
		t.Errorf("a dry run has made %v", left)
	}
	h.Dry = false
	if _, err := h.Install(first, documents); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{
		Programs + "/core": 0o755, Units + "/" + Unit: 0o644, Units + "/triptych@.service": 0o644, Users: 0o644, Completion: 0o644, Flags: 0o644, Data: 0o711, Settings: 0o755,
	} {
		if info, err := os.Stat(h.at(path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info, err)
		}
	}
	for _, name := range units {
		unit, _ := os.ReadFile(h.at(Units + "/" + name))
		if text := string(unit); strings.Count(text, "\nExecReload=") != 1 || !strings.Contains(text, "\nExecReload="+Programs+"/supervisor reload --data-dir ") {
			t.Errorf("%s is not reloaded by supervisor reload:\n%s", name, text)
		}
	}
	if to, err := os.Readlink(h.at(Command)); err != nil || to != Programs+"/supervisor" {
		t.Errorf("%s %v", to, err)
	}
	steps, err := h.Install(first, documents)
	for path, action := range actions(steps) {
		if action != Unchanged {
			t.Errorf("%s again: %s %v", path, action, err)
		}
	}
	put(t, h.at(Flags), "mine")
	put(t, h.at(Units+"/"+Unit), "of an older version")
	steps, err = h.Install(built(t, "2"), documents)
	if got := actions(steps); err != nil || got[Flags] != Kept || got[Units+"/"+Unit] != Changed || got[Programs+"/core"] != Changed || got[Users] != Unchanged {
		t.Errorf("%v %v", got, err)
	}
	if content, _ := os.ReadFile(h.at(Programs + "/core")); string(content) != "core 2" {
		t.Errorf("%s", content)
	}
	if _, err := h.Install(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "--from") {
		t.Error(err)
	}
}

// Tiers that share a file there share it here, and files of their own become links and files again.
func TestInstallKeepsWhatTiersShare(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	core, file := Programs+"/core", Programs+"/"+shared
	for _, step := range []struct {
		from    string
		actions [2]string // of core, and of the file
		link    bool
		content string
	}{
		{built(t, "1"), [2]string{Made, ""}, false, "core 1"},
		{sharing(t, "2"), [2]string{Changed, Made}, true, "tiers 2"},
		{sharing(t, "2"), [2]string{Unchanged, Unchanged}, true, "tiers 2"},
		{sharing(t, "3"), [2]string{Unchanged, Changed}, true, "tiers 3"},
		{copied(t, sharing(t, "3")), [2]string{Changed, ""}, false, "tiers 3"},
		{built(t, "4"), [2]string{Changed, ""}, false, "core 4"},
		{sharing(t, "3"), [2]string{Changed, Unchanged}, true, "tiers 3"},
	} {
		steps, err := h.Install(step.from, documents)
		if got := actions(steps); err != nil || got[core] != step.actions[0] || got[file] != step.actions[1] {
			t.Errorf("%s: %v %v", step.content, got, err)
		}
		to, err := os.Readlink(h.at(core))
		if content, _ := os.ReadFile(h.at(core)); string(content) != step.content || (err == nil) != step.link || step.link && to != shared {
			t.Errorf("core has %q and leads to %q: %v", content, to, err)
		}
	}
	if _, err := h.Uninstall([]string{Completion}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.at(Programs)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("programs are left behind")
	}
}

// copied is folder without links, as cp -L makes it.
func copied(t *testing.T, folder string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range programs() {
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(to, name), string(content))
	}
	return to
}

func TestUninstallKeepsWhatCannotBeHadAgain(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	if _, err := h.Install(built(t, "1"), documents); err != nil {
		t.Fatal(err)
	}
	put(t, h.at(Data+"/somebody's"), "photographs")
	if steps, err := h.Uninstall([]string{Completion}, true); err == nil || steps != nil {
		t.Errorf("photographs are purged: %v %v", steps, err)
	}
	put(t, h.at(Data+"/triptych.yaml"), "format: 1")
	put(t, h.at(Programs+"/mine"), "mine")
	steps, err := h.Uninstall([]string{Completion}, false)
	if got := actions(steps); err != nil || got[Data] != Kept || got[Flags] != Kept || got[Units+"/"+Unit] != Removed || got[Programs] != Kept || got[Completion] != Removed {
		t.Errorf("%v %v", got, err)
	}
	if !(datadir.Dir{Root: h.at(Data)}).Marked() {
		t.Error("the data is gone")
	}
	if err := os.Remove(h.at(Programs + "/mine")); err != nil {
		t.Fatal(err)
	}
	steps, err = h.Uninstall([]string{Completion}, true)
	if got := actions(steps); err != nil || got[Data] != Removed || got[Settings] != Removed || got[Units+"/"+Unit] != Absent || got[Programs] != Removed {
		t.Errorf("%v %v", got, err)
	}
	left := 0
	_ = filepath.Walk(h.Root, func(_ string, info os.FileInfo, _ error) error {
		if !info.IsDir() {
			left++
		}
		return nil
	})
	if left > 0 {
		t.Errorf("%d files are left", left)
	}
}
