package serve

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"clinicgate/syncd/fhir"
)

// Bounds of what is sent to be written, in bytes.
const (
	maxResource = 1 << 20
	smallBody   = 256 << 10 // up to it anybody's is read at once, beyond it few are
	largeAtOnce = 4
)

// single answers a request that is one change.
func (h *Handler) single(r *http.Request, ask asking, rest string) answer {
	w := wishFor(r.Method, rest, r.URL.RawQuery)
	w.kind = mediaType(r)
	w.match, w.noneExist = r.Header.Get("If-Match"), r.Header.Get("If-None-Exist")
	w.prefer = strings.Join(r.Header.Values("Prefer"), ",")
	if err := acceptable(r); w.err == nil && err != nil {
		w.err = err
	}
	if _, _, no := h.mayChange(ask, []wish{w}); no != nil {
		return *no // before any of its body is read
	}
	if err := h.once(ask); err != nil {
		return h.unproven(err)
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return failure(http.StatusBadRequest, fhir.CodeInvalid, "Idempotency-Key of over 255 bytes")
	}
	body, done, err := h.body(r, maxResource)
	defer done()
	if err != nil {
		return refused(err)
	}
	w.body = body
	a, _ := h.change(r.Context(), ask, []wish{w}, key)
	return a
}

// maxKey bounds an Idempotency-Key, in bytes.
const maxKey = 255

func mediaType(r *http.Request) string {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

// body reads a request's body; a large one when it is its turn. done must be called when
// it is not needed any more.
func (h *Handler) body(r *http.Request, most int64) (text []byte, done func(), err error) {
	done = func() {}
	long := fmt.Errorf("%w: the body did not come whole, or is longer than %d bytes", fhir.ErrBody, most)
	if r.ContentLength > most {
		return nil, done, long
	}
	in := io.LimitReader(r.Body, most+1)
	var all bytes.Buffer
	if _, err = all.ReadFrom(io.LimitReader(in, smallBody)); err == nil && all.Len() == smallBody {
		large := h.largeTurns()
		select {
		case large <- struct{}{}:
			done = func() { <-large }
		case <-r.Context().Done():
			return nil, done, long
		}
		_, err = all.ReadFrom(in)
	}
	if err != nil || int64(all.Len()) > most {
		return nil, done, long
	}
	return all.Bytes(), done, nil
}

// largeTurns are the places of large bodies in memory.
func (h *Handler) largeTurns() chan struct{} {
	h.largeOnce.Do(func() { h.large = make(chan struct{}, largeAtOnce) })
	return h.large
}
