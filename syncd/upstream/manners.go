package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"clinicgate/syncd/fhir"
)

// After no answer from the EHR a reader who has a stored answer is not made to wait
// again for about so long, unless the path changes. An EHR that says how long is
// asked no sooner, up to a bound: a wrong figure must not cost a morning.
const (
	rest     = 5 * time.Second
	restMost = time.Minute
)

// once is about how long after a 502, 503 or 504 the same is asked once more: a
// server behind a balancer that restarts is often back by then.
const once = 200 * time.Millisecond

// around is d, give or take half of it: boxes that failed together must not come back
// together.
func around(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d)))
}

// busy is an answer that asks for patience.
type busy struct {
	status int
	after  time.Duration // zero: it did not say
}

// Error says what is known.
func (b *busy) Error() string { return fmt.Sprintf("it answers with status %d", b.status) }

// later reads Retry-After in seconds; a date is as good as none, clocks being what
// they are.
func later(resp *http.Response) *busy {
	b := &busy{status: resp.StatusCode}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		b.after = min(time.Duration(n)*time.Second, restMost)
	}
	return b
}

// pause is how long the EHR is left alone after an error.
func pause(err error) time.Duration {
	var b *busy
	if errors.As(err, &b) && b.after > 0 {
		return b.after + around(b.after/4+time.Second)
	}
	return around(rest)
}

// passing says that an answer may be another one in a moment.
func passing(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return resp.Header.Get("Retry-After") == ""
	}
	return false
}

// patient is race, and once more after an answer that may pass.
func (c *Client) patient(ctx context.Context, target, etag string) (*http.Response, error) {
	resp, err := c.race(ctx, target, etag)
	if err != nil || !passing(resp) {
		return resp, err
	}
	wait := time.NewTimer(around(once))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return resp, nil
	}
	resp.Body.Close()
	return c.race(ctx, target, etag)
}

// maxAside is how many of the requests in flight may be of Asides.
const maxAside = maxInside / 4

// Aside asks for what nobody waits for. It takes a part of the room only, so that a
// person never stands behind it.
type Aside struct {
	client *Client
	room   chan struct{}
}

// Aside returns the client for that.
func (c *Client) Aside() *Aside { return &Aside{c, c.aside} }

// Ask is the client's. A person who asks the same meanwhile shares the request.
func (a *Aside) Ask(ctx context.Context, q fhir.Query, etag string) (fhir.Answer, bool, error) {
	select {
	case a.room <- struct{}{}:
		defer func() { <-a.room }()
	case <-ctx.Done():
		return fhir.Answer{}, false, fmt.Errorf("%w: the reader went away", fhir.ErrUnreachable)
	}
	return a.client.Ask(ctx, q, etag)
}

// Down is the client's.
func (a *Aside) Down(now time.Time) string { return a.client.Down(now) }
