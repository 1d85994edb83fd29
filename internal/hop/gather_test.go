package hop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// written remembers what it was given at a time.
type written struct {
	*httptest.ResponseRecorder
	serverWriter // for what nobody calls here
	sizes        []int
}

func (w *written) Header() http.Header  { return w.ResponseRecorder.Header() }
func (w *written) WriteHeader(code int) { w.ResponseRecorder.WriteHeader(code) }
func (w *written) Flush()               { w.ResponseRecorder.Flush() }
func (w *written) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return w.ResponseRecorder.Write(p)
}

func TestAnAnswerLeavesInLargePieces(t *testing.T) {
	large := strings.Repeat("l", pieceSize)
	for name, test := range map[string]struct {
		h     http.HandlerFunc
		sizes []int
	}{
		"one write": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") }, []int{5}},
		"many writes": {func(w http.ResponseWriter, _ *http.Request) {
			for range 200 {
				io.WriteString(w, large[:1000])
			}
		}, []int{65000, 65000, 65000, 5000}},
		"a large one behind small ones": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "small")
			io.WriteString(w, large)
			io.WriteString(w, "small")
		}, []int{5, pieceSize, 5}},
		"flushed": {func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "bc")
			_ = http.NewResponseController(w).Flush()
			io.WriteString(w, "def")
		}, []int{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &written{ResponseRecorder: httptest.NewRecorder()}
			plain := httptest.NewRecorder()
			serveGathered(test.h, w, nil)
			test.h(plain, nil)
			if !slices.Equal(w.sizes, test.sizes) {
				t.Errorf("pieces of %d, want %d", w.sizes, test.sizes)
			}
			if w.Body.String() != plain.Body.String() {
				t.Error("it is another answer")
			}
		})
	}
}

// Half an answer must not leave as if there were no more of it.
func TestAnAnswerThatIsBrokenOffStays(t *testing.T) {
	w := &written{ResponseRecorder: httptest.NewRecorder()}
	func() {
		defer func() { _ = recover() }()
		serveGathered(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "half of it")
			panic(http.ErrAbortHandler)
		}), w, nil)
	}()
	if len(w.sizes) > 0 {
		t.Errorf("sent %q", w.Body)
	}
}
