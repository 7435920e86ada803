package bearer

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Over returns a transport that adds the token to what goes to the EHR.
func (s *Source) Over(next http.RoundTripper) http.RoundTripper { return &transport{s, next} }

type transport struct {
	source *Source
	next   http.RoundTripper
}

// RoundTrip sends a request with the token. A request that the EHR answers 401 is
// sent once more with another token, if its body can be sent again; otherwise the
// next request gets the other token.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.source.covers(r.URL) {
		return t.next.RoundTrip(r)
	}
	token, resp, err := t.send(r, r.Body)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	t.source.Renounce(token)
	again := r.Body
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil
		}
		if again, err = r.GetBody(); err != nil {
			return resp, nil // its 401 is the answer
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // so that the connection can be kept
	resp.Body.Close()
	_, resp, err = t.send(r, again)
	return resp, err
}

// send sends r with this body and a token that holds, and says which.
func (t *transport) send(r *http.Request, body io.ReadCloser) (string, *http.Response, error) {
	token, err := t.source.Token(r.Context())
	if err != nil {
		if body != nil {
			body.Close()
		}
		return "", nil, err
	}
	one := r.Clone(r.Context())
	one.Body = body
	one.Header.Set("Authorization", "Bearer "+token)
	resp, err := t.next.RoundTrip(one)
	return token, resp, err
}

// covers says whether an address is the EHR's.
func (s *Source) covers(u *url.URL) bool {
	b := s.o.Base
	inside := u.Path == b.Path || strings.HasPrefix(u.Path, b.Path+"/")
	return u.Scheme == b.Scheme && u.Host == b.Host && inside
}

// CloseIdleConnections passes the wish on.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// bare is an error of the client's without the address it asked.
func bare(err error) error {
	var in *url.Error
	if errors.As(err, &in) {
		return in.Err
	}
	return err
}
