package diff

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"triptych.dev/triptych/test/harness"
)

// answer is what both servers must tell alike.
type answer struct {
	Status string
	Header map[string][]string
	// Body is decoded; Form says what decoding hides: whether it is packed, indented
	// and ends with a newline.
	Body any
	Form string
	Err  string
}

// own are values that no two servers have in common, in any text.
var own = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}` + // UIDs
	`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z` + // times
	`|(127\.0\.0\.1|localhost|\[::1\]|192\.0\.2\.2):\d+` + // addresses
	`|10\.96\.\d+\.\d+` + // of Services
	`|resource version: \d+( \(\d+\))?|resourceVersion: "\d+"|in record \(\d+\)|revision=\d+|stream ID \d+` +
	`|\bgenerated-\w{5}\b` + // the end of names that servers make
	`|hash=[0-9A-F]+|X509SHA256=[0-9a-f]+` +
	`|-----BEGIN CERTIFICATE[\s\S]+END CERTIFICATE-----\n?`)

// age is a cell of a table.
var age = regexp.MustCompile(`^(\d+[dhms]){1,2}$`)

// ownFields are values that no two objects have in common, by their key.
var ownFields = []string{
	"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime", "lastUpdateTime", "firstTimestamp", "lastTimestamp",
	"renewTime", "acquireTime", "continue", "token", "expirationTimestamp", "caBundle", "storageVersionHash", "remainingItemCount",
}

// ownHeaders only have to be there.
var ownHeaders = []string{"Date", "Audit-Id", "Etag", "Last-Modified", "Expires", "Content-Length"}

// normal is the answer without what no two servers have in common.
func (s *side) normal(r response) answer {
	if r.Response == nil {
		return answer{Err: own.ReplaceAllString(r.err.Error(), "*")}
	}
	a := answer{Status: fmt.Sprint(r.Proto, " ", r.StatusCode), Header: map[string][]string{}}
	if r.err != nil {
		a.Err = own.ReplaceAllString(r.err.Error(), "*")
	}
	for name, values := range r.Header {
		switch {
		case slices.Contains(ownHeaders, name):
			a.Header[name] = []string{fmt.Sprint(len(values), " there")}
		case strings.HasPrefix(name, "X-Kubernetes-Pf-"):
			for _, uid := range values {
				a.Header[name] = append(a.Header[name], s.names[uid])
			}
		default:
			for _, value := range values {
				a.Header[name] = append(a.Header[name], own.ReplaceAllString(value, "*"))
			}
		}
	}
	if len(r.TransferEncoding) > 0 {
		a.Header["Transfer-Encoding"] = r.TransferEncoding
	}
	if len(r.Trailer) > 0 {
		a.Header["Trailer"] = slices.Sorted(maps.Keys(r.Trailer))
	}
	a.read(r.body, r.Header)
	return a
}

func (a *answer) read(body []byte, header http.Header) {
	if header.Get("Content-Encoding") == "gzip" {
		a.Form = "packed "
		unpacked, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			body, err = io.ReadAll(unpacked)
		}
		if err != nil {
			a.Err = err.Error()
			return
		}
	}
	contentType := header.Get("Content-Type")
	switch {
	case strings.Contains(contentType, "protobuf"):
		a.Body = ofProtobuf(body)
	case strings.Contains(contentType, "cbor"):
		a.Body = ofCbor(body)
	default:
		a.Form += fmt.Sprintf("indented %t, newline %t", bytes.Contains(body, []byte("\n  ")), bytes.HasSuffix(body, []byte("\n")))
		a.Body = ofText(body)
	}
}

// ofText is one document of JSON, or several as of a watch, or just text.
func ofText(body []byte) any {
	var documents []any
	for in := json.NewDecoder(bytes.NewReader(body)); ; {
		var document any
		err := in.Decode(&document)
		if err == io.EOF && len(documents) > 0 {
			return documents
		}
		if err != nil {
			return strings.Split(own.ReplaceAllString(string(body), "*"), "\n")
		}
		documents = append(documents, plain(document))
	}
}

// ofProtobuf is decoded by the types of clients; what is of no known type, or a
// stream, counts as why it cannot be.
func ofProtobuf(body []byte) any {
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return fmt.Sprintf("protobuf that cannot be decoded: %.40s", own.ReplaceAllString(err.Error(), "*"))
	}
	return []any{kind.String(), plain(asJSON(object))}
}

func asJSON(object runtime.Object) (into any) {
	content, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(content, &into)
	}
	if err != nil {
		return err.Error()
	}
	return into
}

// ofCbor is one document, or several as of a watch.
func ofCbor(body []byte) any {
	var documents []any
	for in := cbor.NewDecoder(bytes.NewReader(body)); ; {
		var document any
		err := in.Decode(&document)
		if err == io.EOF {
			return documents
		}
		if err != nil {
			return append(documents, err.Error())
		}
		documents = append(documents, plain(document))
	}
}

// plain replaces what is its own, by key and in text.
func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		into := map[string]any{}
		for key, v := range value {
			_, number := v.(float64)
			if text, _ := v.(string); (number || text != "") && slices.Contains(ownFields, key) {
				v = "some " + key
			}
			if list, ok := v.([]any); ok && (key == "resourceRules" || key == "nonResourceRules") {
				v = slices.SortedFunc(slices.Values(list), byText)
			}
			into[own.ReplaceAllString(key, "*")] = plain(v)
		}
		return into
	case map[any]any: // of CBOR
		into := map[string]any{}
		for key, v := range value {
			into[keyOf(key)] = v
		}
		return plain(into)
	case []byte: // of CBOR
		return plain(string(value))
	case []any:
		into := make([]any, len(value))
		for i, v := range value {
			into[i] = plain(v)
		}
		slices.SortStableFunc(into, harness.ByManager)
		return into
	case string:
		if age.MatchString(value) {
			return "some age"
		}
		return own.ReplaceAllString(value, "*")
	}
	return value
}

func keyOf(key any) string {
	if bytes, ok := key.(cbor.ByteString); ok {
		return string(bytes)
	}
	return fmt.Sprint(key)
}

// byText sorts what comes in any order: rules of a SelfSubjectRulesReview.
func byText(x, y any) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) }
