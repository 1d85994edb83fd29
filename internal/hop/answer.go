package hop

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// untilClosed is the length of a body that ends with its connection.
const untilClosed = -2

// field is a header of an answer; the name is in its canonical form.
type field struct{ name, value string }

// answer is the head of what the delegate answered.
type answer struct {
	status int
	fields []field
	// length of the body, unknownLength for chunks, or untilClosed.
	length int64
	// close: the delegate closes the connection after this answer.
	close bool
	// options are the names in Connection, lower case.
	options []string
	// lane is where the body is instead; empty for none.
	lane string
	// early: not all of the request had been sent when it came.
	early bool
}

// receive returns the final answer. Those before it, 1xx, are dealt with here.
func (x *exchange) receive(c *conn) (*answer, error) {
	for interim := 0; interim < maxInterim; interim++ {
		a, err := readAnswer(c, x.r.Method)
		if err != nil {
			return nil, err
		}
		switch {
		case a.status == http.StatusSwitchingProtocols:
			if !x.head.upgrade {
				return nil, errors.New("the delegate switched protocols unasked")
			}
			return a, nil
		case a.status >= 200:
			a.early = x.sender.early()
			return a, nil
		case a.status == http.StatusContinue && x.head.waits && x.sender.done == nil:
			// Reading the body makes our own server ask the client for it.
			x.startSender()
		default:
			if err := x.inform(a); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("too many interim answers")
}

// maxInterim is far more than anybody sends.
const maxInterim = 100

// readAnswer reads one head, interim or final.
func readAnswer(c *conn, method string) (*answer, error) {
	lines := headReader{r: c.r, left: maxAnswerHead}
	line, err := lines.next()
	if err != nil {
		return nil, err
	}
	a := &answer{}
	if err := a.parseStatus(line); err != nil {
		return nil, err
	}
	a.fields, err = lines.fields(c.fields[:0])
	if err != nil {
		return nil, err
	}
	c.fields = a.fields
	return a, a.frame(method)
}

func (a *answer) parseStatus(line []byte) error {
	// Our servers speak nothing older.
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 || len(line) > 12 && line[12] != ' ' {
		return fmt.Errorf("malformed status line %.60q", line)
	}
	for _, d := range line[9:12] {
		if d < '0' || d > '9' {
			return fmt.Errorf("malformed status line %.60q", line)
		}
		a.status = a.status*10 + int(d-'0')
	}
	if a.status < 100 {
		return fmt.Errorf("malformed status line %.60q", line)
	}
	return nil
}

// frame finds out where the body ends. It takes nothing that two readers could
// understand differently.
func (a *answer) frame(method string) error {
	a.length = untilClosed
	for _, f := range a.fields {
		var err error
		switch f.name {
		case "Content-Length":
			err = a.setLength(f.value)
		case "Transfer-Encoding":
			err = a.setChunked(f.value)
		case "Connection":
			a.setOptions(f.value)
		case trunkHeader:
			a.lane = f.value
		}
		if err != nil {
			return err
		}
	}
	if method == http.MethodHead && a.length < 0 {
		// Whoever answers may not be done, and the next request would wait for that.
		a.close = true
	}
	if method == http.MethodHead || a.status < 200 || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		a.length = 0
	}
	a.close = a.close || a.length == untilClosed
	return nil
}

func (a *answer) setLength(value string) error {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil || a.length != untilClosed && a.length != int64(n) {
		return fmt.Errorf("invalid Content-Length %q", value)
	}
	a.length = int64(n)
	return nil
}

func (a *answer) setChunked(value string) error {
	if !strings.EqualFold(value, "chunked") || a.length != untilClosed {
		return fmt.Errorf("invalid Transfer-Encoding %q", value)
	}
	a.length = unknownLength
	return nil
}

func (a *answer) setOptions(value string) {
	for option := range strings.SplitSeq(value, ",") {
		option = strings.ToLower(strings.Trim(option, " \t"))
		a.close = a.close || option == "close"
		a.options = append(a.options, option)
	}
}

// headReader reads lines up to a limit of bytes in all.
type headReader struct {
	r    *bufio.Reader
	left int
	long []byte // of a line that did not fit into the reader
}

// next returns a line without its end, valid until the next call.
func (h *headReader) next() ([]byte, error) {
	h.long = h.long[:0]
	for {
		part, err := h.r.ReadSlice('\n')
		if h.left -= len(part); h.left < 0 {
			return nil, fmt.Errorf("the header is larger than %d bytes", maxAnswerHead)
		}
		if err == bufio.ErrBufferFull {
			h.long = append(h.long, part...)
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if len(h.long) > 0 {
			h.long = append(h.long, part...)
			part = h.long
		}
		return bytes.TrimSuffix(part[:len(part)-1], []byte("\r")), nil
	}
}

// fields reads up to the empty line and appends to fs.
func (h *headReader) fields(fs []field) ([]field, error) {
	for {
		line, err := h.next()
		if err != nil || len(line) == 0 {
			return fs, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return nil, fmt.Errorf("malformed header line %.60q", line)
		}
		f := field{name: canonical(name), value: string(bytes.Trim(value, " \t"))}
		// Names are checked as tokens, which also refuses folded lines: they
		// begin with a space.
		if !httpguts.ValidHeaderFieldName(f.name) || !httpguts.ValidHeaderFieldValue(f.value) {
			return nil, fmt.Errorf("malformed header line %.60q", line)
		}
		fs = append(fs, f)
	}
}

// canonical avoids making the string anew for the names that every answer has.
func canonical(name []byte) string {
	if s, ok := usualNames[string(name)]; ok {
		return s
	}
	return textproto.CanonicalMIMEHeaderKey(string(name))
}

var usualNames = func() map[string]string {
	names := map[string]string{}
	for _, n := range []string{
		"Audit-Id", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
		"Date", "Etag", "Last-Modified", "Retry-After", "Transfer-Encoding", "Vary", "Warning",
		"X-Content-Type-Options", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid",
	} {
		names[n] = n
	}
	return names
}()
