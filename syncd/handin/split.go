package handin

import (
	"bytes"
	"io"
	"net/http"

	"clinicgate/syncd/fhir"
)

// maxReads is how long a Bundle of questions may be.
const maxReads = 256 << 10

// split sends Bundles of questions, and a person's with changes in them, to whom answers
// those, and Bundles of new resources to next. What is neither is next's to refuse.
func split(reads, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxReads {
			next.ServeHTTP(w, r)
			return
		}
		head, err := io.ReadAll(io.LimitReader(r.Body, maxReads+1))
		body := r.Body
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), failing{err}, body), body}
		person := r.Header.Get("Authorization") != ""
		if err == nil && len(head) <= maxReads && (asks(head) || person && changes(head)) {
			reads.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// asks reports that a Bundle has questions only.
func asks(body []byte) bool {
	requests, _, err := fhir.ParseBatch(body)
	for _, rq := range requests {
		if rq.Method != http.MethodGet && rq.Method != http.MethodHead {
			return false
		}
	}
	return err == nil
}

// changes reports that a Bundle has what only records can take: an update, a deletion,
// a condition.
func changes(body []byte) bool {
	requests, _, err := fhir.ParseBatch(body)
	for _, rq := range requests {
		if !rq.Reads() && rq.Method != http.MethodPost || rq.NoneExist != "" {
			return err == nil
		}
	}
	return false
}

// failing is a body that broke off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}
