// Package upstream asks the clinic's EHR. Its one guarantee: what it returns was
// asked for, whole, and of the right patient; everything else is a typed error
// within the time allowed, whatever the EHR or the line does.
package upstream

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
)

// Bounds of a conversation with the EHR.
const (
	maxBody   = 32 << 20 // bytes of one answer, all pages of a search together
	maxInside = 16       // requests in flight
	small     = 1 << 20  // bytes; of answers beyond it only one is taken in at a time
	maxPages  = 200      // of one search
	pageSize  = 500      // resources asked for a page
	manyParts = 6        // times as long is waited for all of a patient
)

// Client talks to one EHR. Safe for concurrent use.
type Client struct {
	base    *url.URL
	timeout time.Duration

	kept   *http.Client  // connections are kept between requests
	fresh  *http.Client  // every request dials
	inside chan struct{} // room for maxInside
	aside  chan struct{} // room for maxAside
	large  chan struct{} // room for one
	flight singleflight.Group

	mu      sync.Mutex
	path    *wire.Net
	moved   chan struct{} // closed when the way out changes
	contact time.Time     // last good answer
	failed  time.Time     // last time nothing came, zero after an answer
	again   time.Time     // not worth waiting for before, after a failure
	why     string
	piece   bool // this EHR has no $everything
}

// New returns a client of the EHR at base. timeout bounds one answer.
func New(base *url.URL, timeout time.Duration) *Client {
	transport := func(keep bool) *http.Client {
		dial := &net.Dialer{Timeout: timeout, KeepAlive: 5 * time.Second}
		return &http.Client{
			Transport: &http.Transport{
				DialContext:            dial.DialContext,
				ForceAttemptHTTP2:      true,
				MaxIdleConnsPerHost:    maxInside,
				MaxConnsPerHost:        2 * maxInside,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
				DisableKeepAlives:      !keep,
			},
			// A redirect is a login page of somebody's network, or worse.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{
		base: base, timeout: timeout,
		kept: transport(true), fresh: transport(false),
		inside: make(chan struct{}, maxInside), aside: make(chan struct{}, maxAside), large: make(chan struct{}, 1), moved: make(chan struct{}),
	}
}

// Through has requests go through what wrap makes of the client's transports. It is
// called before the client is used.
func (c *Client) Through(wrap func(*http.Transport) http.RoundTripper) {
	for _, one := range []*http.Client{c.kept, c.fresh} {
		one.Transport = wrap(one.Transport.(*http.Transport))
	}
}

// Follow takes what netd last published, or nil. When the way out changed, the
// questions in flight go out anew or end, and the rest after a failure is over;
// it reports whether it changed for the better.
func (c *Client) Follow(n *wire.Net) (better bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, _ := Path(c.path, c.base.Hostname())
	after, ok := Path(n, c.base.Hostname())
	other := c.path != nil && n != nil && c.path.Active != n.Active
	c.path = n
	if before == after && !other {
		return false
	}
	if ok {
		c.failed = time.Time{}
	}
	close(c.moved)
	c.moved = make(chan struct{})
	return ok
}

// way returns what is closed when the way out changes, and why there is none now.
func (c *Client) way() (moved <-chan struct{}, lost error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason, ok := Path(c.path, c.base.Hostname()); !ok {
		return c.moved, errors.New(reason)
	}
	return c.moved, nil
}

// Down says why the EHR is not worth waiting for now, or "".
func (c *Client) Down(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason, ok := Path(c.path, c.base.Hostname()); !ok {
		return reason
	}
	if !c.failed.IsZero() && now.Before(c.again) {
		return c.why
	}
	return ""
}

// Status is for people: the time of the last good answer, and what is wrong.
func (c *Client) Status() (contact time.Time, wrong string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reason, ok := Path(c.path, c.base.Hostname()); !ok {
		return c.contact, reason
	}
	if c.failed.IsZero() {
		return c.contact, ""
	}
	return c.contact, c.why
}

func (c *Client) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.contact, c.failed, c.why = time.Now(), time.Time{}, ""
	case errors.Is(err, fhir.ErrUnreachable):
		c.failed, c.why = time.Now(), err.Error()
		c.again = c.failed.Add(pause(err))
	default:
		c.failed = time.Time{} // it answers, if not well
	}
}
