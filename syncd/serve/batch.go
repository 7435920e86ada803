package serve

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/syncd/fhir"
)

// Bounds of a batch.
const (
	maxBatchBody = 4 << 20  // bytes, of the requests
	maxAnswers   = 48 << 20 // bytes, of all answers together
	batchAtOnce  = 8
)

// batch answers a Bundle: each entry is judged, traced and answered as if it had come
// alone. The changes of a transaction are one edit, made whole or not at all; a
// transaction fails as a whole when one of its entries fails.
func (h *Handler) batch(r *http.Request, ask asking) answer {
	if err := h.once(ask); err != nil {
		return h.unproven(err)
	}
	requests, whole, err := h.readBatch(r)
	if err == nil {
		err = acceptable(r)
	}
	if err != nil {
		return refused(err)
	}
	all := make([]answer, len(requests))
	if no := h.changes(r, ask, requests, whole, all); no != nil {
		return *no
	}
	h.each(r, ask, requests, all)
	responses := make([]fhir.Response, len(all))
	for i, a := range all {
		if whole && a.status >= http.StatusBadRequest {
			return a // the first that failed says why
		}
		responses[i] = response(a)
	}
	return answer{status: http.StatusOK, header: map[string]string{}, body: fhir.JoinResponses(whole, responses)}
}

// changes makes the changes of a Bundle, before its questions are answered (R4
// http.html#trules). no is why a transaction fails.
func (h *Handler) changes(r *http.Request, ask asking, requests []fhir.Request, whole bool, all []answer) (no *answer) {
	var wishes []wish
	var index []int
	for i, q := range requests {
		if !q.Reads() {
			index, wishes = append(index, i), append(wishes, entryWish(q, r))
		}
	}
	if len(wishes) == 0 {
		return nil
	}
	key := r.Header.Get("Idempotency-Key")
	if !whole {
		for n, i := range index {
			one := key
			if one != "" {
				one = fmt.Sprintf("%s|%d", key, i)
			}
			all[i], _ = h.change(r.Context(), ask, wishes[n:n+1], one)
		}
		return nil
	}
	a, out := h.change(r.Context(), ask, wishes, key)
	if a.status >= http.StatusBadRequest {
		return &a
	}
	for n, i := range index {
		all[i] = h.madeOne(r.Context(), wishes[n], out, n)
	}
	return nil
}

// entryWish is the change that an entry asks for.
func entryWish(q fhir.Request, r *http.Request) wish {
	path, query, _ := strings.Cut(q.URL, "?")
	w := wishFor(q.Method, path, query)
	w.kind, w.body, w.match, w.noneExist = fhir.MediaType, q.Resource, q.Match, q.NoneExist
	w.prefer, w.fullURL = strings.Join(r.Header.Values("Prefer"), ","), q.FullURL
	if w.err == nil && q.Method == http.MethodPatch {
		w.kind, w.body, w.err = patchIn(q.Resource)
	}
	if w.err == nil && w.body == nil && q.Method != http.MethodDelete {
		w.err = wrong("an entry that changes something has a resource")
	}
	return w
}

// each answers the requests of a batch, some at once. When the answers together
// become too much to hold, the rest is refused.
func (h *Handler) each(r *http.Request, ask asking, requests []fhir.Request, all []answer) {
	turn := make(chan struct{}, batchAtOnce)
	var done sync.WaitGroup
	var held atomic.Int64
	for i, q := range requests {
		if !q.Reads() {
			continue
		}
		turn <- struct{}{}
		done.Go(func() {
			defer func() { <-turn }()
			if held.Load() > maxAnswers {
				all[i] = failure(http.StatusRequestEntityTooLarge, fhir.CodeTooCostly, "the answers are too much for one batch; ask in smaller ones")
				return
			}
			all[i] = h.inquiry(r.Context(), ask, entryInquiry(q, r), func() error { return nil })
			held.Add(int64(len(all[i].body)))
		})
	}
	done.Wait()
}

func (h *Handler) readBatch(r *http.Request) (requests []fhir.Request, whole bool, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); !fhir.JSONBody(kind) {
		return nil, false, fmt.Errorf("%w: got %.60q, want application/fhir+json", errMedia, kind)
	}
	body, done, err := h.body(r, maxBatchBody)
	defer done()
	if err != nil {
		return nil, false, err
	}
	return fhir.ParseBatch(body)
}

// entryInquiry is the question of one entry.
func entryInquiry(q fhir.Request, r *http.Request) inquiry {
	path, query, _ := strings.Cut(q.URL, "?")
	in := inquiry{method: q.Method, query: query, same: q.NoneSame, prefer: strings.Join(r.Header.Values("Prefer"), ",")}
	if at, err := time.Parse(time.RFC3339, q.Since); err == nil {
		in.since = at.UTC().Format(http.TimeFormat)
	}
	var err error
	if in.rest, err = url.PathUnescape(path); err != nil {
		in.rest = "-" // no path of ours
	}
	values, _ := url.ParseQuery(query)
	in.accept = fhir.Acceptable(values.Get("_format"), "")
	return in
}

func response(a answer) fhir.Response {
	out := fhir.Response{Status: a.status, Body: a.body, ETag: a.header["ETag"], Location: a.header["Location"]}
	if at, err := http.ParseTime(a.header["Last-Modified"]); err == nil {
		out.Modified = at.UTC().Format(time.RFC3339)
	}
	return out
}

// patchIn is the patch in an entry: in a Binary (R4 http.html#jsonpatch).
func patchIn(resource []byte) (kind string, patch []byte, err error) {
	var b struct {
		ResourceType string
		ContentType  string
		Data         []byte
	}
	if json.Unmarshal(resource, &b) != nil || b.ResourceType != "Binary" {
		return "", nil, &problem{http.StatusUnsupportedMediaType, fhir.CodeNotSupported, "a patch in a Bundle is a Binary of application/json-patch+json"}
	}
	return b.ContentType, b.Data, nil
}
