package spine

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/test/harness"
)

const (
	slowReaders, unreadWatches = 8, 20
	listed, blobSize           = 30, 700_000
	// unbuffered is what may live in memory more while the clients stall. A hop that buffers
	// gains slowReaders*listed*blobSize, 168 MB, and as much by the watches.
	unbuffered = 150 << 20
)

// blobCRD is crd with a field for a string of any length.
func blobCRD(group string) string {
	return strings.Replace(crd(group), "size: {type: integer", "blob: {type: string}\n              size: {type: integer", 1)
}

// A client that does not read holds up nobody and fills no tier's memory: what
// it does not take stays with the tier that serves it, as in stock.
func TestSlowReadersFillNoMemory(t *testing.T) {
	const group = "slow.example.com"
	c := harness.Shared(t)
	c.KubectlInput(t, blobCRD(group), "create", "-f", "-")
	served(t, &c.API, gadgetsPath(group))
	for name, r := range map[tier.Name]struct{ path, object string }{
		tier.Core:       {"/api/v1/namespaces/default/configmaps", `{"metadata": {"name": "slow-%d", "labels": {"slow": "yes"}}, "data": {"blob": "%s"}}`},
		tier.Extensions: {gadgetsPath(group), `{"apiVersion": "` + group + `/v1", "kind": "Gadget", "metadata": {"name": "slow-%d", "labels": {"slow": "yes"}}, "spec": {"blob": "%s"}}`},
	} {
		t.Run(string(name), func(t *testing.T) {
			s := &stalled{c: c, path: r.path, serving: name}
			// The other tests need not list 20 MB.
			defer s.send(t, http.MethodDelete, r.path+"?labelSelector=slow%3Dyes", "")
			for i := range listed {
				s.send(t, http.MethodPost, r.path, fmt.Sprintf(r.object, i, strings.Repeat(string(rune('a'+i%26)), blobSize)))
			}
			t.Run("lists", s.lists)
			t.Run("watches", s.watches)
		})
	}
}

// stalled is a resource whose clients stop to read.
type stalled struct {
	c       *harness.Cluster
	path    string
	serving tier.Name
}

func (s *stalled) send(t *testing.T, method, path, body string) {
	t.Helper()
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	answer := harness.Must(harness.Send(t.Context(), s.c.Config(t), method, path, body, "Content-Type", kind))(t)
	if answer.Code >= 300 {
		t.Fatalf("%s %s: %s", method, path, answer)
	}
}

// lists begins to read slowReaders lists, and reads on when others were served.
func (s *stalled) lists(t *testing.T) {
	query := s.path + "?labelSelector=slow%3Dyes"
	whole := s.c.Get(t, query)
	if whole.Code != http.StatusOK || len(whole.Body) < listed*blobSize {
		t.Fatalf("%d bytes: %s", len(whole.Body), whole)
	}
	within := s.memory(t)
	var readers []*bufio.Reader
	var answers []*http.Response
	for range slowReaders {
		in, resp := s.stall(t, query)
		readers, answers = append(readers, in), append(answers, resp)
	}
	s.othersAreServed(t, within)
	want := digest(t, strings.NewReader(string(whole.Body)))
	for i := range readers {
		if got := digest(t, answers[i].Body); got != want {
			t.Errorf("slow client %d reads %s, a fast one %s", i, got, want)
		}
	}
}

// watches opens watches that nobody reads, while what they watch changes.
func (s *stalled) watches(t *testing.T) {
	within := s.memory(t)
	for range unreadWatches {
		s.stall(t, s.path+"?watch=true&labelSelector=slow%3Dyes")
	}
	for i := range 20 {
		s.send(t, http.MethodPatch, fmt.Sprintf("%s/slow-%d", s.path, i), `{"metadata": {"annotations": {"changed": "once"}}}`)
		within()
	}
	s.othersAreServed(t, within)
}

// stall asks for path with little buffer and reads no more than the head of
// the answer.
func (s *stalled) stall(t *testing.T, path string) (*bufio.Reader, *http.Response) {
	t.Helper()
	u := harness.Must(url.Parse(s.c.URL(t)))(t)
	config := s.c.TLS(t)
	config.NextProtos = []string{"http/1.1"}
	conn := harness.Must(tls.Dial("tcp", u.Host, config))(t)
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if err := conn.NetConn().(interface{ SetReadBuffer(int) error }).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	in := bufio.NewReader(conn)
	resp := harness.Must(http.ReadResponse(in, nil))(t)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return in, resp
}

// memory returns a check that neither the head nor the serving tier has grown
// too much since.
func (s *stalled) memory(t *testing.T) func() {
	t.Helper()
	before, names := map[string]int64{}, []string{string(tier.Aggregator), string(s.serving)}
	for _, name := range names {
		before[name] = s.live(t, name)
	}
	return func() {
		t.Helper()
		for _, name := range names {
			if now := s.live(t, name); now > before[name]+unbuffered {
				t.Fatalf("%s has grown from %d to %d MiB", name, before[name]>>20, now>>20)
			}
		}
	}
}

// live is what the heap of a tier holds that is no garbage, in bytes. The garbage is
// collected by how busy the tier is.
func (s *stalled) live(t *testing.T, name string) int64 {
	t.Helper()
	if got := s.c.Get(t, "/debug/tiers/"+name+"/debug/pprof/heap?gc=1"); got.Code != http.StatusOK {
		t.Fatal(got)
	}
	found := heapAlloc.FindSubmatch(s.c.Get(t, "/debug/tiers/"+name+"/metrics").Body)
	if found == nil {
		t.Fatalf("%s does not say how large its heap is", name)
	}
	return int64(harness.Must(strconv.ParseFloat(string(found[1]), 64))(t))
}

var heapAlloc = regexp.MustCompile(`(?m)^go_memstats_heap_alloc_bytes (\S+)$`)

// othersAreServed reads whole lists and changes something: time enough for a hop
// that buffers to do so.
func (s *stalled) othersAreServed(t *testing.T, within func()) {
	t.Helper()
	for i := range 3 {
		if got := s.c.Get(t, s.path+"?labelSelector=slow%3Dyes"); got.Code != http.StatusOK || len(got.Body) < listed*blobSize {
			t.Fatalf("%d bytes: %s", len(got.Body), got)
		}
		within()
		s.send(t, http.MethodPatch, "/api/v1/namespaces/default", fmt.Sprintf(`{"metadata": {"annotations": {"slow-%s": "%d"}}}`, s.serving, i))
	}
}

// listedAt is the revision of a list, which moves with everything that is stored.
var listedAt = regexp.MustCompile(`"metadata":\{"resourceVersion":"\d+"\},"items"|"resourceVersion":"\d+"\}\}\n?$`)

// digest tells lists apart but for their revision.
func digest(t *testing.T, body io.Reader) string {
	t.Helper()
	content := harness.Must(io.ReadAll(body))(t)
	if !json.Valid(content) {
		t.Errorf("%d bytes are no JSON", len(content))
	}
	content = listedAt.ReplaceAll(content, nil)
	return fmt.Sprintf("%d bytes, %x", len(content), sha256.Sum256(content))
}
