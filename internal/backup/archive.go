package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"time"
)

// writer writes files and remembers their hashes.
type writer struct {
	archive *tar.Writer
	sums    bytes.Buffer
	taken   time.Time
}

func (w *writer) add(f File) error {
	sum := sha256.New()
	if f.Path == "" {
		if err := w.put(f.Name, 0o600, int64(len(f.Data)), io.TeeReader(bytes.NewReader(f.Data), sum)); err != nil {
			return err
		}
		w.sums.WriteString(sumLine(sum.Sum(nil), f.Name))
		return nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := w.put(f.Name, info.Mode().Perm(), info.Size(), io.TeeReader(file, sum)); err != nil {
		return err
	}
	w.sums.WriteString(sumLine(sum.Sum(nil), f.Name))
	return nil
}

func (w *writer) put(name string, mode os.FileMode, size int64, content io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: int64(mode), ModTime: w.taken, Format: tar.FormatPAX}
	if err := w.archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w.archive, content)
	return err
}
