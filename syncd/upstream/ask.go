package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"clinicgate/syncd/fhir"
)

// Ask asks the EHR. With the ETag of a stored answer, changed is false when that
// one still holds; the Answer then has no body. Callers that ask the same at the
// same time share one request; none of them can end it for the others.
func (c *Client) Ask(ctx context.Context, q fhir.Query, etag string) (a fhir.Answer, changed bool, err error) {
	shared := c.flight.DoChan(q.Key()+"\n"+etag, func() (any, error) {
		within := c.timeout
		if _, ok := q.(fhir.Everything); ok {
			within *= manyParts
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		a, err := c.ask(ctx, q, etag)
		c.note(err)
		return a, err
	})
	select {
	case <-ctx.Done():
		return fhir.Answer{}, false, fmt.Errorf("%w: the reader went away", fhir.ErrUnreachable)
	case r := <-shared:
		a, _ := r.Val.(fhir.Answer)
		return a, a.Body != nil, r.Err
	}
}

func (c *Client) ask(ctx context.Context, q fhir.Query, etag string) (fhir.Answer, error) {
	in := &intake{c: c}
	defer in.close()
	switch q := q.(type) {
	case fhir.Ref:
		return c.read(ctx, in, q, fhir.Envelope{Ref: q}, etag)
	case fhir.Version:
		return c.read(ctx, in, q, fhir.Envelope{Ref: q.Of, Version: q.Number}, etag)
	case fhir.Everything:
		return c.everything(ctx, in, q)
	case paged:
		return c.search(ctx, in, q)
	}
	return fhir.Answer{}, fmt.Errorf("ask for a %T: not known", q)
}

// A paged question is a search or its like: fhir.Search, fhir.Listing, fhir.History.
type paged interface {
	fhir.Query
	Target() string // relative to the base
	Page(body []byte, base string) (fhir.Page, error)
}

// read is GET of one resource, and want is what must come of it.
func (c *Client) read(ctx context.Context, in *intake, q fhir.Query, want fhir.Envelope, etag string) (fhir.Answer, error) {
	at := time.Now() // what the answer says is at least as young
	resp, body, err := in.get(ctx, c.base.String()+"/"+q.Key(), etag)
	if err != nil {
		return fhir.Answer{}, err
	}
	if resp.StatusCode == http.StatusNotModified && etag != "" {
		return answer(resp, nil, at), nil
	}
	if err := checkStatus(resp, body); err != nil {
		return fhir.Answer{}, err
	}
	env, err := fhir.Decode(body, c.base.String())
	if err != nil {
		return fhir.Answer{}, fmt.Errorf("%w: %w", fhir.ErrNonsense, err)
	}
	if env.Ref != want.Ref || want.Version != "" && env.Version != want.Version {
		return fhir.Answer{}, fmt.Errorf("%w: %w", fhir.ErrNonsense, fhir.ErrForeign)
	}
	return answer(resp, body, at), nil
}

// search gathers all pages of a search into one answer, so that what is kept is
// complete and pages can be cut without the EHR.
func (c *Client) search(ctx context.Context, in *intake, s paged) (fhir.Answer, error) {
	at := time.Now()
	next := c.first(s.Target())
	var all []json.RawMessage
	matches := 0
	been := map[string]bool{}
	var a fhir.Answer
	for n := 0; next != ""; n++ {
		if been[next] {
			return fhir.Answer{}, fmt.Errorf("%w: a search whose pages go in a circle", fhir.ErrNonsense)
		}
		been[next] = true
		if n == maxPages {
			return fhir.Answer{}, fmt.Errorf("%w: a search of more than %d pages", fhir.ErrNonsense, maxPages)
		}
		resp, body, err := in.get(ctx, next, "")
		if err != nil {
			return fhir.Answer{}, err
		}
		if err := checkStatus(resp, body); err != nil {
			return fhir.Answer{}, err
		}
		page, err := s.Page(body, c.base.String())
		if err != nil {
			return fhir.Answer{}, fmt.Errorf("%w: %w", fhir.ErrNonsense, err)
		}
		one := answer(resp, nil, at)
		if n == 0 {
			a = one
		}
		a.Policy.NoStore = a.Policy.NoStore || one.Policy.NoStore
		all, matches = append(all, page.Entries...), matches+page.Matches
		if next, err = c.next(page.Next); err != nil {
			return fhir.Answer{}, err
		}
		if next == "" && matches < page.Total {
			return fhir.Answer{}, fmt.Errorf("%w: a search of %d matches that ends after %d", fhir.ErrNonsense, page.Total, matches)
		}
	}
	a.ETag, a.LastModified = "", "" // of a page, not of the whole
	if _, ok := s.(fhir.History); ok {
		a.Body = fhir.JoinHistory(all)
		return a, nil
	}
	a.Body = fhir.Join(all)
	if l, ok := s.(fhir.Listing); ok && l.Number != "" && len(all) == 0 {
		a.Policy.NoStore = true // nobody yet: the next question may find someone
	}
	return a, nil
}

// first is the address of a search's first page.
func (c *Client) first(target string) string {
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	return fmt.Sprintf("%s/%s%s_count=%d", c.base, target, sep, pageSize)
}

// next checks a link to the next page: it must stay at this EHR, or whoever
// writes an answer could send us anywhere.
func (c *Client) next(link string) (string, error) {
	if link == "" {
		return "", nil
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", fmt.Errorf("%w: a next page without an address", fhir.ErrNonsense)
	}
	u = c.base.JoinPath("/").ResolveReference(u)
	inside := u.Path == c.base.Path || strings.HasPrefix(u.Path, c.base.Path+"/")
	if u.Scheme != c.base.Scheme || u.Host != c.base.Host || u.User != nil || !inside {
		return "", fmt.Errorf("%w: a next page at another server", fhir.ErrNonsense)
	}
	return u.String(), nil
}

// checkStatus sorts answers: nil for 200 with FHIR JSON, *fhir.Refusal for the EHR's
// own no, fhir.ErrUnreachable for "not now", fhir.ErrNonsense for all else.
func checkStatus(resp *http.Response, body []byte) error {
	status := resp.StatusCode
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return fmt.Errorf("%w: %w", fhir.ErrUnreachable, later(resp))
	}
	if !fhir.JSONBody(resp.Header.Get("Content-Type")) {
		return fmt.Errorf("%w: status %d with content that is not FHIR JSON", fhir.ErrNonsense, status)
	}
	if status == http.StatusOK {
		return nil
	}
	env, err := fhir.Decode(body, "")
	if status >= 400 && err == nil && env.Type == "OperationOutcome" {
		return &fhir.Refusal{Status: status, Body: body}
	}
	return fmt.Errorf("%w: status %d to a read", fhir.ErrNonsense, status)
}

func answer(resp *http.Response, body []byte, at time.Time) fhir.Answer {
	h := resp.Header
	return fhir.Answer{
		Body: body, At: at,
		ETag: bounded(h.Get("ETag")), LastModified: bounded(h.Get("Last-Modified")),
		Policy: fhir.ParsePolicy(h.Get("Cache-Control"), h.Get("Age")),
	}
}

// bounded drops a validator too long to be one.
func bounded(s string) string {
	if len(s) > 256 {
		return ""
	}
	return s
}
