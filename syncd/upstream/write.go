package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"clinicgate/syncd/fhir"
)

// Write makes one change at the EHR. It goes out once, on a connection of its own, and
// never again by itself. nil: it is made. A *fhir.Refusal: it is not. Any other error:
// nobody knows, and the EHR must be asked before the change is sent again.
func (c *Client) Write(ctx context.Context, ch fhir.Change) (fhir.Written, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	in := &intake{c: c}
	defer in.close()
	at := time.Now()
	resp, body, err := in.send(ctx, writing(ctx, c.base.String(), ch))
	c.note(err)
	if err == nil {
		err = decided(resp, body)
	}
	if err != nil {
		return fhir.Written{}, err
	}
	w, err := written(resp, body, ch, c.base.String())
	w.Answer.At = at
	return w, err
}

// Transact makes all changes of a transaction Bundle, or none; its errors are Write's.
// It returns the Bundle that answers it.
func (c *Client) Transact(ctx context.Context, bundle []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	in := &intake{c: c}
	defer in.close()
	resp, body, err := in.send(ctx, posting(ctx, c.base.String(), bundle))
	c.note(err)
	if err == nil {
		err = decided(resp, body)
	}
	return body, err
}

// send makes a request that may be made once only.
func (in *intake) send(ctx context.Context, r *http.Request) (*http.Response, []byte, error) {
	leave, err := in.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	resp, err := in.c.fresh.Do(r)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s", fhir.ErrUnreachable, cause(err))
	}
	return in.whole(ctx, resp)
}

func posting(ctx context.Context, target string, body []byte) *http.Request {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		panic(err) // target is a parsed URL printed again
	}
	r.Header.Set("Accept", "application/fhir+json")
	r.Header.Set("Content-Type", "application/fhir+json; charset=utf-8")
	r.Header.Set("Prefer", "return=representation")
	r.Header.Set("User-Agent", "clinicgate")
	return r
}

func writing(ctx context.Context, base string, ch fhir.Change) *http.Request {
	r := posting(ctx, base+"/"+ch.Ref.Type, ch.Body)
	if ch.Ref.ID != "" {
		r.Method = http.MethodPut
		r.URL = r.URL.JoinPath(ch.Ref.ID)
	}
	if ch.Base != "" {
		r.Header.Set("If-Match", fhir.ETag(ch.Base))
	}
	if ch.NoneExist != "" {
		r.Header.Set("If-None-Exist", ch.NoneExist)
	}
	return r
}

// decided says what an answer to a change means. A status that some box on the way
// may have made up, or that asks for patience, decides nothing.
func decided(resp *http.Response, body []byte) error {
	status := resp.StatusCode
	switch {
	case status == http.StatusOK || status == http.StatusCreated:
		return nil
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly:
		return fmt.Errorf("%w: it answers with status %d", fhir.ErrUnreachable, status)
	case status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: it does not accept this gateway (status %d)", fhir.ErrUnreachable, status)
	case status < 400:
		return fmt.Errorf("%w: status %d to a change", fhir.ErrNonsense, status)
	}
	if env, err := fhir.Decode(body, ""); err == nil && env.Type == "OperationOutcome" {
		return &fhir.Refusal{Status: status, Body: body}
	}
	if len(body) == 0 && (status == http.StatusPreconditionFailed || status == http.StatusConflict) {
		return &fhir.Refusal{Status: status, Body: fhir.Failure("conflict", "the EHR has another version")}
	}
	return fmt.Errorf("%w: status %d without a word of FHIR", fhir.ErrNonsense, status)
}

// written reads where a change is now: from the resource, or else from Location and ETag.
func written(resp *http.Response, body []byte, ch fhir.Change, base string) (fhir.Written, error) {
	w := fhir.Written{Found: ch.Ref.ID == "" && resp.StatusCode == http.StatusOK}
	w.Answer = answer(resp, nil, time.Time{})
	if env, err := fhir.Decode(body, base); err == nil && env.Type == ch.Ref.Type {
		w.Ref, w.Version, w.Answer.Body = env.Ref, env.Version, body
	}
	if w.Ref.ID == "" {
		w.Ref = locate(resp.Header.Get("Location"), ch.Ref.Type)
	}
	if w.Ref.ID == "" && ch.Ref.ID != "" {
		w.Ref = ch.Ref
	}
	if w.Version == "" {
		w.Version = fhir.VersionOf(resp.Header.Get("ETag"))
	}
	if w.Ref.ID == "" || ch.Ref.ID != "" && w.Ref != ch.Ref {
		return w, fmt.Errorf("%w: %w", fhir.ErrNonsense, errors.New("it does not say what it made"))
	}
	if w.Answer.ETag == "" && w.Version != "" {
		w.Answer.ETag = fhir.ETag(w.Version)
	}
	return w, nil
}

// locate reads [base]/Type/id/_history/version.
func locate(location, typ string) fhir.Ref {
	parts := strings.Split(location, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i] == typ {
			ref, _ := fhir.ParseRef(typ, parts[i+1])
			return ref
		}
	}
	return fhir.Ref{}
}
