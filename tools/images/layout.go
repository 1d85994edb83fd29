package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"triptych.dev/triptych/tools/linked"
)

// indexes are the images by their names, each an index of all architectures.
func (s source) indexes() (map[string]v1.ImageIndex, error) {
	all := map[string]v1.ImageIndex{}
	base, err := s.layer(s.base())
	if err != nil {
		return nil, err
	}
	for name := range images() {
		all[name] = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	}
	for _, arch := range slices.Sorted(maps.Keys(s.programs)) {
		layers := map[string]v1.Layer{}
		for _, name := range linked.Files {
			if layers[name], err = s.program(name, arch); err != nil {
				return nil, err
			}
		}
		for _, tier := range linked.Tiers {
			if layers[tier], err = s.named(tier); err != nil {
				return nil, err
			}
		}
		for name, tiers := range images() {
			img, err := s.image(name, arch, tiers, base, layers)
			if err != nil {
				return nil, fmt.Errorf("cannot make the image %s: %w", name, err)
			}
			all[name] = mutate.AppendManifests(all[name], mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
	}
	return all, nil
}

// write writes one OCI layout a folder, and returns the folders. What is there by these names
// is replaced.
func (s source) write(out string) (written []string, err error) {
	indexes, err := s.indexes()
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(indexes)) {
		dir := filepath.Join(out, name)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		path, err := layout.Write(dir, empty.Index)
		if err != nil {
			return nil, err
		}
		// The name that is given to the image where the layout is loaded.
		named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": s.version, "io.containerd.image.name": "triptych.dev/" + name + ":" + s.version})
		if err := path.AppendIndex(indexes[name], named); err != nil {
			return nil, err
		}
		written = append(written, dir)
	}
	return written, nil
}

// archive packs a layout into one file, for `ctr image import` and `podman load`.
func (s source) archive(dir, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(relative), Mode: 0o644, Size: info.Size(), ModTime: s.time, Format: tar.FormatPAX}); err != nil {
			return err
		}
		content, err := os.Open(name)
		if err != nil {
			return err
		}
		defer content.Close()
		_, err = io.Copy(w, content)
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
