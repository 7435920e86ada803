package serve

import (
	"errors"
	"fmt"
	"io"
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
	maxBatchBody = 256 << 10 // bytes, of the requests
	maxAnswers   = 48 << 20  // bytes, of all answers together
	batchAtOnce  = 8
)

// batch answers a Bundle of reads: each is judged, traced and answered as if it had
// come alone. A transaction fails as a whole when one of them fails.
func (h *Handler) batch(r *http.Request, ask asking) answer {
	if err := h.once(ask); err != nil {
		return h.unproven(err)
	}
	requests, whole, err := readBatch(r)
	if err == nil {
		err = acceptable(r)
	}
	if err != nil {
		return refused(err)
	}
	if whole {
		for i, q := range requests {
			if q.Method != http.MethodGet && q.Method != http.MethodHead {
				return failure(http.StatusMethodNotAllowed, fhir.CodeNotSupported,
					fmt.Sprintf("entry %d: records can only be read here so far; nothing of the transaction was done", i))
			}
		}
	}
	all := h.each(r, ask, requests)
	responses := make([]fhir.Response, len(all))
	for i, a := range all {
		if whole && a.status >= http.StatusBadRequest {
			return a // the first that failed says why
		}
		responses[i] = response(a)
	}
	return answer{status: http.StatusOK, header: map[string]string{}, body: fhir.JoinResponses(whole, responses)}
}

// each answers the requests of a batch, some at once. When the answers together
// become too much to hold, the rest is refused.
func (h *Handler) each(r *http.Request, ask asking, requests []fhir.Request) []answer {
	all := make([]answer, len(requests))
	turn := make(chan struct{}, batchAtOnce)
	var done sync.WaitGroup
	var held atomic.Int64
	for i, q := range requests {
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
	return all
}

func readBatch(r *http.Request) (requests []fhir.Request, whole bool, err error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); !fhir.JSONBody(kind) {
		return nil, false, fmt.Errorf("%w: got %.60q, want application/fhir+json", errMedia, kind)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBatchBody+1))
	if err != nil || len(body) > maxBatchBody {
		return nil, false, errors.Join(fmt.Errorf("%w: the batch did not come whole, or is longer than %d bytes", fhir.ErrBody, maxBatchBody), err)
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
	out := fhir.Response{Status: a.status, Body: a.body, ETag: a.header["ETag"]}
	if at, err := http.ParseTime(a.header["Last-Modified"]); err == nil {
		out.Modified = at.UTC().Format(time.RFC3339)
	}
	return out
}
