package rights

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// core answers watches with bodies that last until they are cut, and pings unless
// it hangs.
type core struct {
	hangs   atomic.Bool
	watches map[string]*io.PipeWriter
}

// RoundTrip implements http.RoundTripper.
func (c *core) RoundTrip(r *http.Request) (*http.Response, error) {
	body, w := io.Pipe()
	c.watches[r.URL.Path] = w
	return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
}

func (c *core) ping(ctx context.Context) error {
	if c.hangs.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

// watch opens a watch as an informer does, and reads it to its end.
func watch(t *testing.T, f *Feed, c *core, resource string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://core"+path+resource+"?watch=true", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.Wrap(c).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}()
}

// fed runs f with a feed of every resource.
func fed(t *testing.T, f func(feed *Feed, c *core)) {
	synctest.Test(t, func(t *testing.T) {
		feed, c := NewFeed(), &core{watches: map[string]*io.PipeWriter{}}
		feed.Follow(t.Context(), time.Minute, c.ping)
		if feed.Err() == nil {
			t.Error("rights are known before anybody told of them")
		}
		for _, resource := range resources {
			watch(t, feed, c, resource)
		}
		synctest.Wait()
		if err := feed.Err(); err != nil {
			t.Errorf("every watch is open: %v", err)
		}
		f(feed, c)
		for _, w := range c.watches {
			_ = w.Close()
		}
	})
}

// outlast has time pass and tells whether rights are known then.
func outlast(f *Feed, d time.Duration) bool {
	time.Sleep(d)
	synctest.Wait()
	return f.Err() == nil
}

func TestRightsAreKnownAsLongAsCoreTells(t *testing.T) {
	fed(t, func(f *Feed, _ *core) {
		if !outlast(f, time.Hour) {
			t.Error(f.Err())
		}
	})
}

func TestACoreThatHangsIsBelievedForTheBoundAlone(t *testing.T) {
	fed(t, func(f *Feed, c *core) {
		c.hangs.Store(true)
		if !outlast(f, 50*time.Second) {
			t.Errorf("after 50 s: %v", f.Err())
		}
		if outlast(f, 15*time.Second) {
			t.Error("after 65 s rights are judged by what may have changed")
		}
		c.hangs.Store(false)
		if !outlast(f, 10*time.Second) {
			t.Errorf("when core answers again: %v", f.Err())
		}
	})
}

func TestOneWatchThatIsCutEndsTheProof(t *testing.T) {
	for _, resource := range resources {
		fed(t, func(f *Feed, c *core) {
			_ = c.watches[path+resource].CloseWithError(errors.New("cut"))
			if outlast(f, 65*time.Second) {
				t.Errorf("%s are not watched for 65 s, and rights are known", resource)
			}
			watch(t, f, c, resource)
			synctest.Wait()
			if err := f.Err(); err != nil {
				t.Errorf("%s are watched again: %v", resource, err)
			}
		})
	}
}

func TestWithoutABoundNothingIsEverTooOld(t *testing.T) {
	f := NewFeed()
	f.Follow(t.Context(), 0, nil)
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}

func TestABoundTooShortToBeMeasuredIsRefused(t *testing.T) {
	for age, ok := range map[time.Duration]bool{0: true, time.Second: true, time.Minute: true, time.Millisecond: false, -1: false} {
		if err := (&Options{MaxAge: age}).Validate(); (err == nil) != ok {
			t.Errorf("%v: %v", age, err)
		}
	}
}
