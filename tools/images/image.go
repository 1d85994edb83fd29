package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"triptych.dev/triptych/tools/linked"
)

const (
	// folder is where the programs are, as for the units and the chart in deploy/.
	folder = "/usr/local/lib/triptych"
	// dataDir belongs to user, who is nobody else's on any distribution.
	dataDir = "/var/lib/triptych"
	user    = 65532
)

// source is what images are made of.
type source struct {
	// programs are folders of them, by architecture.
	programs map[string]string
	version  string
	revision string
	time     time.Time
	// documents are files that go along.
	documents []string
}

// images are the names of images and the tiers that each has the programs of. That of one tier
// runs that tier, as one of several hosts. All have the same layer of what tiers are linked into: a
// registry keeps it once, and so does the memory of a node that runs several.
func images() map[string][]string {
	all := map[string][]string{"triptych": nil}
	for _, tier := range linked.Tiers {
		all["triptych"] = append(all["triptych"], tier)
		all["triptych-"+tier] = []string{tier}
	}
	return all
}

// file is one of a layer. A folder and a link have no content.
type file struct {
	name     string
	from     string
	link     string
	content  []byte
	mode     int64
	folder   bool
	uid, gid int
}

// layer makes equal bytes of equal files.
func (s source) layer(files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if f.from != "" {
			content, err := os.ReadFile(f.from)
			if err != nil {
				return nil, err
			}
			f.content = content
		}
		header := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.gid, Size: int64(len(f.content)), ModTime: s.time, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		switch {
		case f.folder:
			header.Typeflag, header.Name = tar.TypeDir, f.name+"/"
		case f.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

// base is all that is not a program: a user, a place to write, and whom the world trusts.
func (s source) base() []file {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
	}
	dirs := []file{}
	for _, name := range []string{"etc", "etc/ssl", "etc/ssl/certs", "usr", "usr/local", "usr/local/lib", folder[1:], "usr/share", "usr/share/doc", "usr/share/doc/triptych", "var", "var/lib"} {
		dirs = append(dirs, file{name: name, mode: 0o755, folder: true})
	}
	files := append(dirs,
		file{name: "tmp", mode: 0o1777, folder: true},
		file{name: dataDir[1:], mode: 0o700, folder: true, uid: user, gid: user},
		file{name: "etc/passwd", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\ntriptych:x:%d:%d:Triptych:%s:/sbin/nologin\n", user, user, dataDir)},
		file{name: "etc/group", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:\ntriptych:x:%d:\n", user)},
		file{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots.Bytes()},
	)
	for _, document := range s.documents {
		files = append(files, file{name: "usr/share/doc/triptych/" + filepath.Base(document), from: document, mode: 0o644})
	}
	return files
}

// named is a layer of the link by which the program of a tier is called.
func (s source) named(tier string) (v1.Layer, error) {
	return s.layer([]file{{name: path.Join(folder[1:], tier), link: linked.TiersFile, mode: 0o777}})
}

// program is a layer of one linked file, which images share.
func (s source) program(name, arch string) (v1.Layer, error) {
	from := filepath.Join(s.programs[arch], name)
	f, err := elf.Open(from)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w: build it by make release", from, err)
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		return nil, fmt.Errorf("%s is for %s, and not for %s", from, f.Machine, arch)
	}
	return s.layer([]file{{name: path.Join(folder[1:], name), from: from, mode: 0o755}})
}

// image is one of the tiers, or of all. layers are those of linked files and of links, by name.
func (s source) image(name, arch string, tiers []string, base v1.Layer, layers map[string]v1.Layer) (v1.Image, error) {
	added := []v1.Layer{base}
	for _, name := range linked.Files {
		added = append(added, layers[name])
	}
	entrypoint := []string{path.Join(folder, "supervisor"), "run", "--data-dir=" + dataDir}
	for _, t := range tiers {
		added = append(added, layers[t])
	}
	if len(tiers) == 1 {
		entrypoint = append(entrypoint, "--tiers="+tiers[0])
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, added...)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Created = arch, "linux", v1.Time{Time: s.time}
	for i := range config.History {
		config.History[i].Created = v1.Time{Time: s.time}
	}
	config.Config = v1.Config{
		User:         fmt.Sprintf("%d:%d", user, user),
		Entrypoint:   entrypoint,
		Env:          []string{"PATH=" + folder, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		ExposedPorts: map[string]struct{}{"6443/tcp": {}},
		Volumes:      map[string]struct{}{dataDir: {}},
		WorkingDir:   "/",
		StopSignal:   "SIGTERM",
		Labels: map[string]string{
			"org.opencontainers.image.title": name, "org.opencontainers.image.version": s.version, "org.opencontainers.image.revision": s.revision,
			"org.opencontainers.image.created": s.time.UTC().Format(time.RFC3339), "org.opencontainers.image.description": "Kubernetes API server as three processes",
		},
	}
	return mutate.ConfigFile(img, config)
}
