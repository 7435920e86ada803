package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// An attempt is one of the two requests of a race.
type attempt struct {
	n    int
	resp *http.Response
	err  error
}

// race asks for target. A kept connection may lie on a provider that just died
// without a word; so when it fails, or no answer has begun after a third of the
// time, the same question goes out once more on a connection of its own, and the
// first to answer is taken: reads are safe to repeat. The loser is cancelled,
// which closes its connection.
func (c *Client) race(ctx context.Context, target, etag string) (*http.Response, error) {
	done := make(chan attempt, 2)
	var cancel [2]context.CancelFunc
	ask := func(n int, by *http.Client) {
		one, stop := context.WithCancel(ctx)
		cancel[n] = stop
		go func() {
			resp, err := by.Do(request(one, target, etag))
			done <- attempt{n, resp, err}
		}()
	}
	ask(0, c.kept)
	second := time.NewTimer(c.timeout / 3)
	defer second.Stop()
	var failed error
	for asked, answered := 1, 0; ; {
		select {
		case <-second.C:
			ask(1, c.fresh)
			asked++
		case a := <-done:
			answered++
			if a.err == nil {
				if asked == 2 {
					cancel[1-a.n]()
				}
				go drain(done, asked-answered)
				a.resp.Body = &ending{a.resp.Body, cancel[a.n]}
				return a.resp, nil
			}
			cancel[a.n]()
			failed = errors.Join(failed, a.err)
			if asked == 1 && ctx.Err() == nil {
				second.Stop()
				ask(1, c.fresh)
				asked++
			}
			if answered == asked {
				return nil, failed
			}
		}
	}
}

// drain closes what a cancelled attempt may still have got.
func drain(done <-chan attempt, n int) {
	for range n {
		if a := <-done; a.err == nil {
			a.resp.Body.Close()
		}
	}
}

// ending ends a request's context when its body is closed.
type ending struct {
	io.ReadCloser
	end context.CancelFunc
}

// Close closes the body.
func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// request makes a GET; target has been built from parsed parts.
func request(ctx context.Context, target, etag string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		panic(err) // target is a parsed URL printed again
	}
	r.Header.Set("Accept", "application/fhir+json")
	r.Header.Set("User-Agent", "clinicgate")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	return r
}

// cause says what went wrong on the line. The URL stays out of it: it names a
// patient.
func cause(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer in time"
	}
	var in *url.Error
	if errors.As(err, &in) {
		return fmt.Sprint(in.Err)
	}
	return err.Error()
}
