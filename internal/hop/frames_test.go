package hop

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// slowly hands on a byte at a time.
type slowly struct{ net.Conn }

func (s slowly) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := s.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// connOver is a forwarder's connection over its end of a socketPair, without frames.
func connOver(end net.Conn) *conn {
	wire := must(newWire(end.(transport)))
	c := &conn{wire: wire, stream: wire, w: bufio.NewWriter(wire)}
	c.r = bufio.NewReader(c)
	return c
}

// socketPair is a connected pair of unix sockets.
func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, path := listenLocal(t)
	defer l.Close()
	a = must(net.Dial("unix", path))
	b = must(l.Accept())
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFramesKeepThePiecesAndTheEnd(t *testing.T) {
	pieces := []string{"a", strings.Repeat("b", frameBuffer), strings.Repeat("c", maxJoined+1), "d", strings.Repeat("e", 300_000)}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"at once": func(c net.Conn) net.Conn { return c },
		"slowly":  func(c net.Conn) net.Conn { return slowly{c} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := socketPair(t)
			out, in := &frames{Conn: wrap(a)}, &frames{Conn: b}
			go func() {
				for _, p := range pieces {
					io.WriteString(out, p)
				}
				out.Close()
			}()
			for _, p := range pieces {
				got := make([]byte, len(p)+10)
				if n, err := io.ReadAtLeast(in, got, len(p)); err != nil || string(got[:n]) != p {
					t.Fatalf("%d bytes of %d, %v", n, len(p), err)
				}
			}
			for range 2 {
				if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("at the end: %d, %v", n, err)
				}
			}
			if !in.ended {
				t.Error("the end was not said")
			}
		})
	}
}

// The kernel of a killed process ends its streams anywhere.
func TestAFrameThatIsCutOffIsNoEnd(t *testing.T) {
	for _, cut := range []string{"\x00", "\x00\x00\x00", "\x00\x00\x00\x05", "\x00\x00\x00\x05hell"} {
		a, b := socketPair(t)
		io.WriteString(a, cut)
		a.Close()
		in := &frames{Conn: b}
		if got, err := io.ReadAll(in); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %q, %v", cut, got, err)
		}
	}
}

// A frame of which a part has left would make the next one unreadable.
func TestAFrameThatLeftInPartIsTheLast(t *testing.T) {
	a, b := socketPair(t)
	out := &frames{Conn: a}
	out.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := out.Write(make([]byte, 10<<20)); err == nil {
		t.Fatal("10 MiB went to nobody")
	}
	out.SetWriteDeadline(time.Time{})
	go io.Copy(io.Discard, b)
	if _, err := io.WriteString(out, "more"); err == nil {
		t.Error("wrote behind it")
	}
}
