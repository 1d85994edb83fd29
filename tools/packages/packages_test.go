package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sassoftware/go-rpmutils"

	"triptych.dev/triptych/tools/linked"
)

const root = "../.."

// of is a release of the programs in bin, written to a folder of the test.
func of(t *testing.T, bin, arch string) release {
	t.Helper()
	return release{
		from:    from{bin: bin, arch: arch, root: root, supervisor: filepath.Join(root, "bin", "supervisor")},
		version: "1.2.3-rc.1", maintainer: "Nobody <nobody@example.com>", time: time.Unix(1e9, 0).UTC(), out: t.TempDir(),
	}
}

// programs is a folder of headers of programs, which are all that packagers look at.
func programs(t *testing.T, machine elf.Machine) string {
	t.Helper()
	dir := t.TempDir()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG+string([]byte{byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)}))
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	for _, name := range linked.Files {
		if err := os.WriteFile(filepath.Join(dir, name), append(b.Bytes(), name...), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func written(t *testing.T, r release, formats ...string) []string {
	t.Helper()
	files, err := r.write(formats...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestVersionsAreOrderedAsTimeIs(t *testing.T) {
	date := time.Unix(1e9, 0)
	ordered := []string{"8e85dda9c9c3", "0.9.0", "1.0.0-rc.1", "1.0.0-rc.1-3-g8e85dda9c9c3", "1.0.0", "1.0.0-14-g8e85dda9c9c3", "1.0.1"}
	for i, version := range ordered {
		this, err := packaged(version, date)
		if err != nil {
			t.Error(err)
		}
		if i == 0 {
			continue
		}
		before, _ := packaged(ordered[i-1], date)
		if err := exec.Command("dpkg", "--compare-versions", before, "lt", this).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", before, this, err)
		}
	}
	for version, want := range map[string]string{"8e85dda9c9c3-dirty": "0~20010909014640.g8e85dda9c9c3.dirty", "v1.2.3-dirty": "1.2.3+dirty"} {
		if got, err := packaged(version, date); got != want {
			t.Errorf("%s has become %q (%v)", version, got, err)
		}
	}
	for _, version := range []string{"", "unknown", "main", "1.2.3-something"} {
		if got, err := packaged(version, date); err == nil {
			t.Errorf("%q has become %q", version, got)
		}
	}
}

func TestEqualProgramsMakeEqualPackages(t *testing.T) {
	bin := programs(t, elf.EM_X86_64)
	first, second := of(t, bin, "amd64"), of(t, bin, "amd64")
	for i, a := range written(t, first, "deb", "rpm", "tar.gz") {
		later := time.Now().Add(time.Hour)
		for _, name := range linked.Files {
			if err := os.Chtimes(filepath.Join(bin, name), later, later); err != nil {
				t.Fatal(err)
			}
		}
		b := written(t, second, "deb", "rpm", "tar.gz")[i]
		x, y := readFile(t, a), readFile(t, b)
		if filepath.Base(a) != filepath.Base(b) || !bytes.Equal(x, y) {
			t.Errorf("%s and %s differ", a, b)
		}
	}
	if err := sums(first.out); err != nil {
		t.Fatal(err)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first.out
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestProgramsOfAnotherMachineAreRefused(t *testing.T) {
	_, err := of(t, programs(t, elf.EM_AARCH64), "amd64").write("deb")
	if err == nil || !strings.Contains(err.Error(), "not for amd64") {
		t.Errorf("%v", err)
	}
	for _, file := range written(t, of(t, programs(t, elf.EM_AARCH64), "arm64"), "deb", "rpm", "tar.gz") {
		if !strings.Contains(file, "arm64") && !strings.Contains(file, "aarch64") {
			t.Errorf("%s", file)
		}
	}
}

func TestTheRPMIsWhatItShouldBe(t *testing.T) {
	f, err := os.Open(written(t, of(t, programs(t, elf.EM_X86_64), "amd64"), "rpm")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rpm, err := rpmutils.ReadRpm(f)
	if err != nil {
		t.Fatal(err)
	}
	if nevra, err := rpm.Header.GetNEVRA(); err != nil || nevra.Name != "triptych" || nevra.Version != "1.2.3~rc.1" || nevra.Arch != "x86_64" {
		t.Errorf("%+v (%v)", nevra, err)
	}
	infos, err := rpm.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	modes, links := map[string]int{}, map[string]string{}
	for _, info := range infos {
		modes[info.Name()] = info.Mode() & 0o7777
		links[info.Name()] = info.Linkname()
		if info.UserName() != "root" || info.Mtime() != 1e9 {
			t.Errorf("%s is of %s, at %d", info.Name(), info.UserName(), info.Mtime())
		}
		const config, noReplace = 1, 1 << 4
		if is := info.Flags()&(config|noReplace) == config|noReplace; is != strings.HasPrefix(info.Name(), "/etc/") {
			t.Errorf("%s is configuration: %t", info.Name(), is)
		}
	}
	for name, mode := range map[string]int{
		"/usr/lib/triptych/supervisor": 0o755, "/usr/lib/triptych/tiers": 0o755,
		"/usr/lib/systemd/system/triptych.service": 0o644, "/usr/lib/systemd/system/triptych@.service": 0o644, "/usr/lib/sysusers.d/triptych.conf": 0o644,
		"/etc/triptych/triptych.yaml": 0o644, "/etc/default/triptych": 0o644, "/usr/share/zsh/site-functions/_supervisor": 0o644,
		"/usr/share/man/man8/supervisor-stop.8.gz": 0o644, "/usr/share/bash-completion/completions/supervisor": 0o644,
	} {
		if modes[name] != mode {
			t.Errorf("%s has mode %o", name, modes[name])
		}
	}
	for _, tier := range linked.Tiers {
		if to := links["/usr/lib/triptych/"+tier]; to != linked.TiersFile {
			t.Errorf("%s leads to %q", tier, to)
		}
	}
	for tag, want := range map[int]string{rpmutils.POSTIN: "systemd-sysusers", rpmutils.PREUN: "disable --now", rpmutils.POSTUN: "daemon-reload"} {
		if script, err := rpm.Header.GetString(tag); err != nil || !strings.Contains(script, want) {
			t.Errorf("script %d lacks %q: %q (%v)", tag, want, script, err)
		}
		if script, _ := rpm.Header.GetString(tag); strings.Contains(script, "systemctl enable") || strings.Contains(script, "systemctl start") {
			t.Errorf("script %d starts what nobody asked for: %q", tag, script)
		}
	}
}

// The tarball has what a machine is given by hand: programs that share a file, man pages that man reads, and completions
// of three shells.
func TestTheTarballHasManPagesAndCompletions(t *testing.T) {
	file := written(t, of(t, programs(t, elf.EM_X86_64), "amd64"), "tar.gz")[0]
	out := t.TempDir()
	if said, err := exec.Command("tar", "--strip-components=1", "-C", out, "-xzf", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for _, tier := range linked.Tiers {
		if to, err := os.Readlink(filepath.Join(out, tier)); err != nil || to != linked.TiersFile {
			t.Errorf("%s leads to %q (%v)", tier, to, err)
		}
	}
	for name, text := range map[string]string{
		"man/man8/supervisor.8": "Triptych", "man/man8/supervisor-stop.8": "Sep 2001", "man/man8/supervisor-config-validate.8": "supervisor-config",
		"completions/supervisor": "bash completion", "completions/_supervisor": "#compdef supervisor", "completions/supervisor.fish": "complete -c supervisor",
	} {
		if content, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(content), text) {
			t.Errorf("%s lacks %q (%v)", name, text, err)
		}
	}
}
