package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxAttempts bounds how often one question goes out.
const maxAttempts = 3

// An attempt is one of the requests of a race.
type attempt struct {
	n    int
	resp *http.Response
	err  error
}

// race asks for target. A kept connection may lie on a provider that just died
// without a word; so when it fails, when the way out changes, or when no answer
// has begun after a third of the time, the same question goes out once more on a
// connection of its own, and the first to answer is taken: reads are safe to
// repeat. The losers are cancelled, which closes their connections. When there is
// no way out any more it ends at once.
func (c *Client) race(ctx context.Context, target, etag string) (*http.Response, error) {
	done := make(chan attempt, maxAttempts)
	var cancel []context.CancelFunc
	ask := func(by *http.Client) {
		if len(cancel) == maxAttempts {
			return
		}
		one, stop := context.WithCancel(ctx)
		n := len(cancel)
		cancel = append(cancel, stop)
		go func() {
			resp, err := by.Do(request(one, target, etag))
			done <- attempt{n, resp, err}
		}()
	}
	endAll := func(but int) {
		for n, stop := range cancel {
			if n != but {
				stop()
			}
		}
	}
	again := time.NewTicker(c.timeout / maxAttempts)
	defer again.Stop()
	moved, _ := c.way()
	ask(c.kept)
	var failed error
	for answered := 0; ; {
		select {
		case <-again.C:
			ask(c.fresh)
		case <-moved:
			var lost error
			if moved, lost = c.way(); lost != nil {
				endAll(-1)
				go drain(done, len(cancel)-answered)
				return nil, lost
			}
			ask(c.fresh)
		case a := <-done:
			answered++
			if a.err == nil {
				endAll(a.n)
				go drain(done, len(cancel)-answered)
				a.resp.Body = &ending{a.resp.Body, cancel[a.n]}
				return a.resp, nil
			}
			cancel[a.n]()
			failed = errors.Join(failed, a.err)
			if len(cancel) == 1 && ctx.Err() == nil {
				ask(c.fresh) // it failed at once: so may a connection that was closed meanwhile
			}
			if answered == len(cancel) {
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
		return in.Err.Error()
	}
	return err.Error()
}
