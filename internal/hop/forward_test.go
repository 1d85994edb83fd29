package hop

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestForwardsRequestsAndAnswers(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("X-Uri", r.RequestURI)
		w.WriteHeader(http.StatusAccepted)
		w.Write(b)
	}
	eachProtocol(t, handler, func(t *testing.T, f *front, c *http.Client) {
		for _, size := range []int{0, 1, 1000, 40_000, 1 << 20} {
			for _, method := range []string{"GET", "POST"} {
				body := strings.Repeat("x", size)
				req := must(http.NewRequest(method, f.URL+"/api/v1/a%2Fb//c/../d?x=&y;z", strings.NewReader(body)))
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, resp.Body); got != body {
					t.Errorf("%s %d: got %d bytes", method, size, len(got))
				}
				if resp.StatusCode != 202 || resp.Header.Get("X-Method") != method || resp.Header.Get("X-Uri") != "/api/v1/a%2Fb//c/../d?x=&y;z" {
					t.Errorf("%v %v", resp.Status, resp.Header)
				}
			}
		}
	})
}
