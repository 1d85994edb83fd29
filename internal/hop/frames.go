package hop

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

const (
	frameHeader = 4 // the length of what follows, big endian; none is the end
	// maxJoined bytes are copied to leave in one piece with their header.
	maxJoined = 16 << 10
	// frameBuffer holds a small answer.
	frameBuffer = 8 << 10
)

// frames is what TLS' records are on TCP, without encryption: a stream in the pieces in
// which it was written, with an end of its own. A forwarder goes by the pieces, for what
// was flushed is to be flushed, and by the end, for a killed process' stream has none. One
// goroutine may read while others write.
type frames struct {
	net.Conn

	in    [frameBuffer]byte
	ahead []byte // of in, read and not asked for yet
	left  int    // of the frame that is being read
	ended bool

	mu     sync.Mutex
	out    []byte
	broken error // a frame that left in part cannot be mended
}

// Read implements net.Conn. It returns no more than one frame.
func (f *frames) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), f.left)]
	if len(f.ahead) > 0 {
		n := copy(p, f.ahead)
		f.ahead, f.left = f.ahead[n:], f.left-n
		return n, nil
	}
	n, err := f.Conn.Read(p)
	f.left -= n
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads the header of a frame.
func (f *frames) next() error {
	if f.ended {
		return io.EOF
	}
	for len(f.ahead) < frameHeader {
		kept := copy(f.in[:], f.ahead)
		n, err := f.Conn.Read(f.in[kept:])
		f.ahead = f.in[:kept+n]
		if err == io.EOF && kept+n > 0 && kept+n < frameHeader {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && kept+n < frameHeader {
			return err
		}
	}
	f.left = int(binary.BigEndian.Uint32(f.ahead))
	f.ahead = f.ahead[frameHeader:]
	if f.left == 0 {
		f.ended = true
		return io.EOF
	}
	return nil
}

// Write implements net.Conn. What is written at once is one frame.
func (f *frames) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite says that no more is coming.
func (f *frames) CloseWrite() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.write(nil)
}

// Close implements net.Conn. Who waits for more is told that there is none, unless
// somebody is writing.
func (f *frames) Close() error {
	if f.mu.TryLock() {
		_ = f.SetWriteDeadline(time.Now().Add(farewellTimeout))
		_ = f.write(nil)
		f.mu.Unlock()
	}
	return f.Conn.Close()
}

// write is for those who hold the mutex.
func (f *frames) write(p []byte) error {
	if f.broken != nil {
		return f.broken
	}
	f.out = binary.BigEndian.AppendUint32(f.out[:0], uint32(len(p)))
	if len(p) <= maxJoined {
		f.out, p = append(f.out, p...), nil
	}
	if _, f.broken = f.Conn.Write(f.out); f.broken == nil && len(p) > 0 {
		_, f.broken = f.Conn.Write(p)
	}
	return f.broken
}
