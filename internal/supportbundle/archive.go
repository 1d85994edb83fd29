package supportbundle

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"path"
	"time"

	"sigs.k8s.io/yaml"
)

// Piece is one file of a bundle, or why it is not there.
type Piece struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	// Problem is why it is missing or not whole, in one line.
	Problem string `json:"problem,omitempty"`
}

// archive is a tar.gz whose files are for their owner alone, once unpacked too.
type archive struct {
	folder string
	time   time.Time
	zip    *gzip.Writer
	tar    *tar.Writer
	*Redactor
	pieces []Piece
	// failed is the first error of writing.
	failed error
}

func newArchive(w io.Writer, folder string, now time.Time, r *Redactor) *archive {
	zip := gzip.NewWriter(w)
	return &archive{folder: folder, time: now, zip: zip, tar: tar.NewWriter(zip), Redactor: r}
}

// add adds text without its secrets. With a problem and no text there is no file.
func (a *archive) add(name string, text []byte, problem error) {
	text = a.Redact(text)
	piece := Piece{Name: name, Bytes: len(text)}
	if problem != nil {
		piece.Problem = string(a.Redact([]byte(problem.Error())))
	}
	a.pieces = append(a.pieces, piece)
	if len(text) > 0 {
		a.write(name, text)
	}
}

func (a *archive) write(name string, text []byte) {
	if a.failed != nil {
		return
	}
	header := &tar.Header{Name: path.Join(a.folder, name), Mode: 0o600, Size: int64(len(text)), ModTime: a.time, Typeflag: tar.TypeReg}
	if a.failed = a.tar.WriteHeader(header); a.failed == nil {
		_, a.failed = a.tar.Write(text)
	}
}

// addJSON adds what was asked, or why there was no answer.
func (a *archive) addJSON(name string, value any, problem error) {
	if problem != nil {
		a.add(name, nil, problem)
		return
	}
	data, err := json.MarshalIndent(value, "", "  ")
	a.add(name, append(data, '\n'), err)
}

// close adds the list of all pieces and ends the archive.
func (a *archive) close() error {
	list, err := yaml.Marshal(a.pieces)
	if err != nil {
		return err
	}
	a.write("contents.yaml", list)
	return errors.Join(a.failed, a.tar.Close(), a.zip.Close())
}
