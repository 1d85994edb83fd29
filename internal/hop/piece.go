package hop

import "sync"

// pieceSize is how much of an answer leaves at once: whole records of TLS.
const pieceSize = 64 << 10

// piece is what is on its way.
type piece struct{ b []byte }

var (
	pieces = sync.Pool{New: func() any { return &piece{make([]byte, 0, pieceSize)} }}
	heads  = sync.Pool{New: func() any { return &piece{make([]byte, 0, 2<<10)} }}
)

// Write implements io.Writer. It never fails.
func (p *piece) Write(b []byte) (int, error) { p.b = append(p.b, b...); return len(b), nil }

// WriteString implements io.StringWriter.
func (p *piece) WriteString(s string) (int, error) { p.b = append(p.b, s...); return len(s), nil }

func (p *piece) line(name, value string) {
	p.b = append(append(append(append(p.b, name...), ": "...), value...), "\r\n"...)
}

// putIn gives p back, unless it has grown too large to be kept.
func (p *piece) putIn(pool *sync.Pool) {
	if cap(p.b) <= 2*pieceSize {
		p.b = p.b[:0]
		pool.Put(p)
	}
}
