package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"triptych.dev/triptych/tools/linked"
)

// made is a source of headers of programs, which are all that is looked at.
func made(t *testing.T) source {
	t.Helper()
	s := source{programs: map[string]string{}, version: "1.2.3", revision: "abc", time: time.Unix(1e9, 0).UTC()}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
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
		s.programs[arch] = dir
	}
	document := filepath.Join(t.TempDir(), "licences.txt")
	if err := os.WriteFile(document, []byte("licences"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.documents = []string{document}
	return s
}

// manifests are those of the index in the layout of an image.
func manifests(t *testing.T, dir string) (v1.ImageIndex, []v1.Descriptor) {
	t.Helper()
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := outer.IndexManifest()
	if err != nil || len(list.Manifests) != 1 || !list.Manifests[0].MediaType.IsIndex() {
		t.Fatalf("%+v: %v", list, err)
	}
	index, err := outer.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return index, inner.Manifests
}

// One image for each tier and one for all, for both architectures: valid, of a user who is not
// root, with the supervisor and the names of the tiers that it is for and of no others.
func TestImagesAreOCILayouts(t *testing.T) {
	out := t.TempDir()
	written, err := made(t).write(out)
	if err != nil || len(written) != 4 {
		t.Fatalf("%q: %v", written, err)
	}
	for _, dir := range written {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			var kind struct{ ImageLayoutVersion string }
			if data, err := os.ReadFile(filepath.Join(dir, "oci-layout")); err != nil || json.Unmarshal(data, &kind) != nil || kind.ImageLayoutVersion != "1.0.0" {
				t.Errorf("oci-layout says %+v: %v", kind, err)
			}
			index, list := manifests(t, dir)
			if err := validate.Index(index); err != nil { // digests and sizes of all blobs, and of layers unpacked
				t.Error(err)
			}
			var platforms []string
			for _, m := range list {
				platforms = append(platforms, m.Platform.String())
				image, err := index.Image(m.Digest)
				if err != nil {
					t.Fatal(err)
				}
				checkImage(t, name, m, image)
			}
			if slices.Sort(platforms); !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
				t.Errorf("it is for %q", platforms)
			}
		})
	}
}

func checkImage(t *testing.T, name string, m v1.Descriptor, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != types.OCIManifestSchema1 || config.Architecture != m.Platform.Architecture || config.OS != "linux" || config.Created.Unix() != 1e9 {
		t.Errorf("%s: %+v", m.MediaType, config)
	}
	if c := config.Config; c.User != "65532:65532" || c.Entrypoint[0] != "/usr/local/lib/triptych/supervisor" || c.Entrypoint[1] != "run" || c.StopSignal != "SIGTERM" || c.Labels["org.opencontainers.image.version"] != "1.2.3" {
		t.Errorf("%+v", c)
	}
	want := []string{"aggregator", "core", "extensions", "supervisor", "tiers"}
	if tier, one := strings.CutPrefix(name, "triptych-"); one {
		want = []string{tier, "supervisor", "tiers"}
		slices.Sort(want)
		if last := config.Config.Entrypoint[len(config.Config.Entrypoint)-1]; last != "--tiers="+tier {
			t.Errorf("%s starts with %s", name, last)
		}
	}
	var programs []string
	content := mutate.Extract(image)
	defer content.Close()
	seen := map[string]*tar.Header{}
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		file := strings.TrimSuffix(header.Name, "/")
		seen[file] = header
		if header.Mode&0o022 != 0 && header.Typeflag != tar.TypeSymlink && file != "tmp" || header.ModTime.Unix() != 1e9 {
			t.Errorf("%s has mode %o, of %s", header.Name, header.Mode, header.ModTime)
		}
		if program, ok := strings.CutPrefix(file, "usr/local/lib/triptych/"); ok && (header.Mode == 0o755 || header.Linkname == linked.TiersFile) {
			programs = append(programs, program)
		}
		if file == "etc/ssl/certs/ca-certificates.crt" {
			data, err := io.ReadAll(r)
			if err != nil || !x509.NewCertPool().AppendCertsFromPEM(data) || bytes.Count(data, []byte("BEGIN")) < 50 {
				t.Errorf("there are no roots: %v", err)
			}
		}
	}
	if slices.Sort(programs); !slices.Equal(programs, want) {
		t.Errorf("%s has the programs %q", name, programs)
	}
	if data := seen["var/lib/triptych"]; data == nil || data.Uid != 65532 || data.Mode != 0o700 {
		t.Errorf("the data directory is %+v", data)
	}
	for _, file := range []string{"tmp", "etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt", "usr/share/doc/triptych/licences.txt"} {
		if seen[file] == nil {
			t.Errorf("%s lacks %s", name, file)
		}
	}
}

func TestEqualProgramsMakeEqualImages(t *testing.T) {
	s := made(t)
	var archives [][]byte
	for range 2 {
		out := t.TempDir()
		if err := run(s, out, true); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(out, "triptych-core-1.2.3.oci.tar"))
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, data)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two images of the same programs differ")
	}
}

func TestProgramsOfAnotherMachineMakeNoImage(t *testing.T) {
	s := made(t)
	s.programs["amd64"] = s.programs["arm64"]
	if _, err := s.write(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not for amd64") {
		t.Errorf("%v", err)
	}
}

// Who builds by podman or docker gets what `make release` writes.
func TestTheContainerfileIsOfTheSameImage(t *testing.T) {
	data, err := os.ReadFile("../../deploy/container/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	s := made(t)
	indexes, err := s.indexes()
	if err != nil {
		t.Fatal(err)
	}
	list, err := indexes["triptych"].IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err := indexes["triptych"].Image(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	entrypoint, err := json.Marshal(config.Config.Entrypoint)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.ReplaceAll(string(data), `", "`, `","`), "\n")
	for _, want := range []string{"USER " + config.Config.User, "ENTRYPOINT " + string(entrypoint), "STOPSIGNAL " + config.Config.StopSignal, "EXPOSE 6443/tcp", "VOLUME /var/lib/triptych"} {
		if !slices.Contains(lines, want) {
			t.Errorf("it has no line %q", want)
		}
	}
	if !slices.Contains(lines, "COPY . "+folder+"/") { // links that are named would be copied as files
		t.Error("it does not copy all programs")
	}
}
