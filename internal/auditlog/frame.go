package auditlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// maxFrame bounds what a broken child can have its parent hold. It is far above
// the largest answer that an event may hold.
const maxFrame = 1 << 29

// send writes a frame: the length in 4 bytes, big endian, and the content. It is
// one call to w, so a frame is not delayed halfway.
func send(w io.Writer, content []byte) error {
	if len(content) > maxFrame {
		return fmt.Errorf("an event of %d bytes is too large for the audit log", len(content))
	}
	frame := make([]byte, 0, 4+len(content))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(content)))
	_, err := w.Write(append(frame, content...))
	return err
}

// receive reads a frame. What it holds grows with what comes, not with what the
// length claims.
func receive(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes is too large", n)
	}
	var content bytes.Buffer
	if _, err := io.CopyN(&content, r, int64(n)); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
