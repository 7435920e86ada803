package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"clinicgate/syncd/fhir"
)

// An intake is the answer to one question on its way in, all its pages. It bounds
// what hostile answers can cost in memory: each in itself, and the large ones by
// taking turns.
type intake struct {
	c     *Client
	used  int64
	large bool // it is the large one
}

// close gives the turn to the next.
func (in *intake) close() {
	if in.large {
		<-in.c.large
	}
}

// enter waits for room for one more request, while there is a way out.
func (in *intake) enter(ctx context.Context) (leave func(), err error) {
	c := in.c
	select {
	case c.inside <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many requests wait for it", fhir.ErrUnreachable)
	}
	leave = func() { <-c.inside }
	if _, lost := c.way(); lost != nil {
		leave()
		return nil, fmt.Errorf("%w: %w", fhir.ErrUnreachable, lost)
	}
	return leave, nil
}

// get makes one request and reads the whole answer. The response's body is closed.
func (in *intake) get(ctx context.Context, target, etag string) (*http.Response, []byte, error) {
	leave, err := in.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	resp, err := in.c.patient(ctx, target, etag)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s", fhir.ErrUnreachable, cause(err))
	}
	return in.whole(ctx, resp)
}

// whole reads an answer to its end and closes it.
func (in *intake) whole(ctx context.Context, resp *http.Response) (*http.Response, []byte, error) {
	defer resp.Body.Close()
	body, err := in.read(ctx, resp.Body)
	switch {
	case errors.Is(err, fhir.ErrNonsense):
		return nil, nil, err
	case ctx.Err() != nil:
		return nil, nil, fmt.Errorf("%w: its answer did not end in time", fhir.ErrUnreachable)
	case err != nil:
		return nil, nil, fmt.Errorf("%w: its answer broke off: %s", fhir.ErrUnreachable, cause(err))
	}
	return resp, body, nil
}

// read takes a body in: a small one at once, a larger one when it is its turn.
func (in *intake) read(ctx context.Context, r io.Reader) ([]byte, error) {
	var body bytes.Buffer
	bound := int64(maxBody)
	if !in.large {
		bound = small
	}
	n, err := body.ReadFrom(io.LimitReader(r, bound-in.used+1))
	in.used += n
	if err != nil || in.used <= bound {
		return body.Bytes(), err
	}
	if in.large {
		return nil, fmt.Errorf("%w: more than %d MiB", fhir.ErrNonsense, maxBody>>20)
	}
	select {
	case in.c.large <- struct{}{}:
		in.large = true
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rest, err := in.read(ctx, r)
	return append(body.Bytes(), rest...), err
}
