package hop

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// unknownLength marks a body that is sent or read in chunks.
const unknownLength = -1

// head is what goes before the body of a request. A head that newHead returned
// cannot be read as anything else than one request.
type head struct {
	r       *http.Request
	target  string
	upgrade bool
	options []string // the client's own Connection options
	// length of the body: 0 for none, or unknownLength.
	length int64
	// waits: the client sends the body only when it is asked for.
	waits bool
	// lane is the name of the one that the answer may take; empty for none.
	lane string
}

// newHead checks r. Whatever could end a line early, or make two parties count
// the body differently, is an error.
func newHead(r *http.Request) (head, error) {
	h := head{r: r}
	if !httpguts.ValidHeaderFieldName(r.Method) {
		return h, errors.New("invalid method")
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return h, errors.New("invalid host")
	}
	if err := h.setTarget(); err != nil {
		return h, err
	}
	for key, values := range r.Header {
		if err := checkField(key, values); err != nil {
			return h, err
		}
	}
	if err := h.setLength(); err != nil {
		return h, err
	}
	h.setOptions()
	return h, nil
}

func checkField(key string, values []string) error {
	if !httpguts.ValidHeaderFieldName(key) {
		return fmt.Errorf("invalid header name %q", key)
	}
	if http.CanonicalHeaderKey(key) != key {
		return fmt.Errorf("header name %q is not in its canonical form", key)
	}
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) {
			return fmt.Errorf("invalid value of header %s", key)
		}
	}
	return nil
}

// setTarget takes the request target as the client wrote it, be it a path or
// a whole URL, which core tells those it proxies to. A space, which HTTP/2 lets
// through, is the one byte that is rewritten.
func (h *head) setTarget() error {
	t := h.r.RequestURI
	if !strings.HasPrefix(t, "/") && h.r.Method != http.MethodConnect && t != "*" && h.r.URL.Host == "" {
		t = h.r.URL.EscapedPath()
		if !strings.HasPrefix(t, "/") {
			t = "/" + t
		}
		if h.r.URL.ForceQuery || h.r.URL.RawQuery != "" {
			t += "?" + h.r.URL.RawQuery
		}
	}
	for i := range len(t) {
		if t[i] < ' ' || t[i] == 0x7f {
			return errors.New("invalid request target")
		}
	}
	h.target = strings.ReplaceAll(t, " ", "%20")
	if h.target == "" {
		return errors.New("empty request target")
	}
	return nil
}

func (h *head) setLength() error {
	r := h.r
	declared := r.Header["Content-Length"]
	if len(declared) > 1 {
		return errors.New("more than one Content-Length")
	}
	if len(declared) == 1 {
		if len(r.TransferEncoding) > 0 || len(r.Header["Transfer-Encoding"]) > 0 {
			return errors.New("both Content-Length and Transfer-Encoding")
		}
		if n, err := strconv.ParseUint(declared[0], 10, 63); err != nil || int64(n) != r.ContentLength {
			return errors.New("invalid Content-Length")
		}
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	h.length = r.ContentLength
	if h.length < 0 || len(r.Trailer) > 0 {
		// Only chunks carry trailers.
		h.length = unknownLength
	}
	if h.length != 0 {
		h.waits = httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
	}
	return nil
}

// setOptions reads Connection. Its options are the client's business with the
// API server, of which this tier is a part, and so are passed on together with
// the headers they name: the server ignores them, and only where core acts as
// a proxy are those headers dropped. Were they dropped here, a client could
// make the headers of those in front of it disappear.
func (h *head) setOptions() {
	values := h.r.Header["Connection"]
	if len(values) == 0 {
		return
	}
	h.upgrade = h.r.ProtoMajor == 1 && httpguts.HeaderValuesContainsToken(values, "Upgrade") &&
		h.r.Header.Get("Upgrade") != ""
	for _, v := range values {
		for option := range strings.SplitSeq(v, ",") {
			option = strings.Trim(option, " \t")
			if option != "" && !slices.Contains(ownOptions, strings.ToLower(option)) {
				h.options = append(h.options, option)
			}
		}
	}
}

// ownOptions are the connection options that are about one connection only.
var ownOptions = []string{"close", "keep-alive", "upgrade", "te"}

// read tells whether the request only reads. An upgrade does not: it is how
// commands are executed.
func (h *head) read() bool {
	return (h.r.Method == http.MethodGet || h.r.Method == http.MethodHead) && !h.upgrade
}

// write puts the head into w. Errors stay in w.
func (h *head) write(w *bufio.Writer) {
	w.WriteString(h.r.Method)
	w.WriteByte(' ')
	w.WriteString(h.target)
	w.WriteString(" HTTP/1.1\r\n")
	writeField(w, "Host", h.r.Host)
	for key, values := range h.r.Header {
		if perConnection(key) {
			continue
		}
		for _, v := range values {
			writeField(w, key, v)
		}
	}
	if h.lane != "" {
		writeField(w, trunkHeader, h.lane)
	}
	h.writeConnection(w)
	h.writeFraming(w)
	w.WriteString("\r\n")
}

func (h *head) writeConnection(w *bufio.Writer) {
	if h.waits {
		writeField(w, "Expect", "100-continue")
	}
	if h.upgrade {
		// The connection is being handed over, and with it what is said of it.
		for _, key := range handedOver {
			for _, v := range h.r.Header[key] {
				writeField(w, key, v)
			}
		}
		return
	}
	if len(h.options) > 0 {
		writeField(w, "Connection", strings.Join(h.options, ", "))
	}
	if te := h.r.Header["Te"]; len(te) > 0 && httpguts.HeaderValuesContainsToken(te, "trailers") {
		writeField(w, "Te", "trailers")
	}
}

// handedOver are the headers of a connection that go along with an upgrade: core
// passes them on to where it leads.
var handedOver = []string{"Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te"}

func (h *head) writeFraming(w *bufio.Writer) {
	switch {
	case h.length > 0:
		w.WriteString("Content-Length: ")
		w.Write(strconv.AppendInt(w.AvailableBuffer(), h.length, 10))
		w.WriteString("\r\n")
	case h.length == unknownLength:
		writeField(w, "Transfer-Encoding", "chunked")
		if names := trailerNames(h.r.Trailer); len(names) > 0 {
			writeField(w, "Trailer", strings.Join(names, ", "))
		}
	case len(h.r.Header["Content-Length"]) > 0:
		writeField(w, "Content-Length", "0")
	}
}

func writeField(w *bufio.Writer, key, value string) {
	w.WriteString(key)
	w.WriteString(": ")
	w.WriteString(value)
	w.WriteString("\r\n")
}

// perConnection tells whether a header is about the connection it came on, or
// is written from what it says rather than copied.
func perConnection(key string) bool {
	switch key {
	case "Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", trunkHeader:
		return true
	}
	return false
}

// trailerNames are the trailers that may be sent.
func trailerNames(trailer http.Header) []string {
	var names []string
	for key := range trailer {
		if httpguts.ValidTrailerHeader(key) && httpguts.ValidHeaderFieldName(key) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}
