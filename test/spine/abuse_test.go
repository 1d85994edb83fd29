package spine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/test/harness"
)

// forgedHeader is a line by which a client says that it speaks for a cluster administrator.
func forgedHeader(t *testing.T) string {
	return identity.Header + ": " + stamped(t)[identity.Header][0] + "\r\n"
}

// smuggle sends requests of which two servers could read different ends, with another one behind that must not be taken for
// anybody else's: framed twice, framed badly, with headers that name an identity.
func smuggle(t *testing.T, d door) {
	forged := forgedHeader(t)
	if !d.public {
		forged = "" // who may come in by these may speak for others
	}
	behind := "GET /api/v1/secrets?smuggled=yes HTTP/1.1\r\nHost: localhost\r\n" + forged + "X-Remote-User: forged\r\nX-Remote-Group: system:masters\r\n\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(behind), behind)
	var all sync.WaitGroup
	defer all.Wait()
	for i, framing := range []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + behind,
		fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%s", len(chunked), chunked),
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + behind,
		"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + behind,
		"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + behind,
		"Transfer-Encoding:\tchunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + behind,
		"Content-Length: 0\r\nContent-Length: 9\r\n\r\n" + behind,
		"Content-Length: 0, 9\r\n\r\n" + behind,
		"Content-Length: +0\r\n\r\n" + behind,
		"Content-Length: -1\r\n\r\n" + behind,
		"Content-Length: 99999999999999999999\r\n\r\n" + behind,
		"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + behind,
		"Transfer-Encoding: chunked\r\n\r\n0;\n\r\n" + behind,
		"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 9\r\n" + forged + "\r\n" + behind,
		"X-Folded: a\r\n " + behind,
		"X-Nul: a\x00b\r\n\r\n" + behind,
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 0\r\n\r\n" + http2.ClientPreface,
		"Connection: " + identity.Header + "\r\nContent-Length: 0\r\n\r\n",
	} {
		all.Go(func() {
			answers, err := d.answers(fmt.Sprintf("POST /api/v1/namespaces/default/configmaps?outer=%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s%s", i, forged, framing))
			if err != nil {
				t.Errorf("%s: %v", d.name, err)
			}
			// Who comes in by the others may read secrets; the audit log tells by which name.
			if !d.owned && d.name != "insecure port" && strings.Contains(answers, "SecretList") {
				t.Errorf("%s takes %q for a request of somebody else's: %.300q", d.name, framing, answers)
			}
		})
	}
}

// answers sends text and returns all that is said until nothing more comes.
func (d door) answers(text string) (string, error) {
	conn, err := d.dial(http1Only(d.peer))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // who has announced more is waited for longer
	go func() { _, _ = io.WriteString(conn, text) }()
	one, all := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := conn.Read(one)
		all = append(all, one[:n]...)
		if err != nil {
			return string(all), nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	}
}

// oversize sends heads that are too large: of one line, and of many.
func oversize(t *testing.T, d door) {
	const large = 6 << 20
	for what, head := range map[string]string{
		"a long path":   "GET /" + strings.Repeat("x", large) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a long header": "GET /version HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", large) + "\r\n\r\n",
		"many headers":  "GET /version HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", large/6) + "\r\n",
	} {
		conn, err := d.dial(http1Only(d.peer))
		if err != nil {
			t.Errorf("%s: %v", d.name, err)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(soon))
		go func() { _, _ = io.WriteString(conn, head) }()
		got, err := io.ReadAll(conn)
		conn.Close()
		if refused := len(got) == 0 || strings.HasPrefix(string(got), "HTTP/1.1 431 "); !refused || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s takes %s: %.100q %v", d.name, what, got, err)
		}
	}
}

// resets is how many requests are made and taken back at once.
const resets = 2000

// rapidReset makes requests over HTTP/2 and takes each back at once.
func rapidReset(t *testing.T, d door) {
	config := d.peer.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := d.dial(config)
	if err != nil {
		t.Errorf("%s: %v", d.name, err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(soon))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	// :method GET, :scheme https, :path /, from the static table; :authority x.
	head := []byte{0x82, 0x87, 0x84, 0x41, 0x01, 'x'}
	for i := range resets {
		id := uint32(2*i + 1)
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndStream: true, EndHeaders: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return // cut off
		}
	}
}

const (
	// slack is how many more goroutines and descriptors there may be afterwards: informers and watches of others come and
	// go. Each kind of abuse would leave more, if it left any.
	slack = 40
	// room is how much more memory: what was garbage once is not given back at once.
	room = 128 << 20
)

// size is what grows where something is kept of everybody who comes.
type size struct {
	count  int
	memory int64
}

func sizesOf(t *testing.T, c *harness.Cluster, pids []int) map[string]size {
	t.Helper()
	all := map[string]size{}
	for _, pid := range pids {
		entries := harness.Must(os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)))(t)
		all[fmt.Sprint("descriptors of ", pid)] = size{len(entries), harness.Must(harness.MemoryOf(pid))(t).Anonymous}
	}
	for name, n := range goroutines(t, c) {
		all[name] = size{count: n}
	}
	return all
}

// grown is an error that names what is larger than it was.
func grown(before, now map[string]size) error {
	var errs []error
	for name, is := range now {
		if was := before[name]; is.count > was.count+slack || is.memory > was.memory+room {
			errs = append(errs, fmt.Errorf("%s: %+v, was %+v", name, is, was))
		}
	}
	return errors.Join(errs...)
}

// goroutines are those of each tier.
func goroutines(t *testing.T, c *harness.Cluster) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, line := range strings.Split(string(c.Get(t, "/metrics").Body), "\n") {
		var n int
		if labels, value, ok := strings.Cut(line, "} "); ok && strings.HasPrefix(line, "go_goroutines{") {
			if _, err := fmt.Sscan(value, &n); err != nil {
				t.Fatal(err)
			}
			all[labels] = n
		}
	}
	if len(all) < 3 {
		t.Fatalf("goroutines of %v alone", all)
	}
	return all
}
