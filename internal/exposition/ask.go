package exposition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/klog/v2"
)

// format is the only one that holds all there is to a metric.
var format = expfmt.NewFormat(expfmt.TypeProtoDelim)

// answer is what a tier said.
type answer struct{ families []*dto.MetricFamily }

// each asks all processes side by side. The answer of one that gave none is nil.
func each(processes []process, question func(process) (*answer, error)) []*answer {
	answers := make([]*answer, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() {
			var err error
			if answers[i], err = question(p); err != nil {
				klog.V(2).InfoS("No metrics of a tier", "tier", p.tier, "replica", p.replica, "err", err)
			}
		})
	}
	all.Wait()
	return answers
}

// ask sends what the client asked the head for to another tier, in format.
func ask(ctx context.Context, client *http.Request, handler http.Handler) (a *answer, err error) {
	r := client.Clone(ctx)
	r.Body, r.ContentLength = http.NoBody, 0
	r.Header = http.Header{"Accept": {string(format)}}
	w := responsewriter.NewInMemoryResponseWriter()
	defer func() { // the hop panics with what breaks off
		if p := recover(); p != nil {
			a, err = nil, fmt.Errorf("the answer broke off: %v", p)
		}
	}()
	handler.ServeHTTP(w, r)
	if w.RespCode() != http.StatusOK {
		return nil, fmt.Errorf("%d: %s", w.RespCode(), w.Data())
	}
	if r.Method == http.MethodDelete {
		return &answer{}, nil
	}
	families, err := decode(w.Data())
	if err != nil {
		return nil, err
	}
	return &answer{families}, nil
}

func decode(data []byte) ([]*dto.MetricFamily, error) {
	decoder := expfmt.NewDecoder(bytes.NewReader(data), format)
	var families []*dto.MetricFamily
	for {
		family := &dto.MetricFamily{}
		switch err := decoder.Decode(family); {
		case errors.Is(err, io.EOF):
			return families, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read metrics: %w", err)
		}
		families = append(families, family)
	}
}
