package amend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/syncd/fhir"
)

// A hospital is an EHR in memory that keeps every version, and whose line and temper a
// test decides. It is strict: If-Match, If-None-Exist and transactions are what R4 says.
type hospital struct {
	mu       sync.Mutex
	versions map[fhir.Ref][]string // oldest first
	serial   int
	log      []string // what was made, in order: "Observation/1 v2"

	cut     bool // no line
	lose    int  // so many changes are made and not answered
	status  int  // answers so to changes, without making them
	refuses string
	asked   int
}

func newHospital() *hospital { return &hospital{versions: map[fhir.Ref][]string{}} }

func refusal(status int, text string) error {
	return &fhir.Refusal{Status: status, Body: fhir.Failure(fhir.CodeInvalid, text)}
}

// Down is the line's state.
func (h *hospital) Down(time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut {
		return "cut"
	}
	return ""
}

// put files a version. The caller holds mu.
func (h *hospital) put(ref fhir.Ref, body string) fhir.Written {
	v := fmt.Sprint(len(h.versions[ref]) + 1)
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		panic(err)
	}
	var meta map[string]json.RawMessage
	_ = json.Unmarshal(m["meta"], &meta)
	if meta == nil {
		meta = map[string]json.RawMessage{}
	}
	meta["versionId"] = json.RawMessage(`"` + v + `"`)
	m["meta"], _ = json.Marshal(meta)
	m["id"] = json.RawMessage(`"` + ref.ID + `"`)
	text, _ := json.Marshal(m)
	h.versions[ref] = append(h.versions[ref], string(text))
	h.log = append(h.log, ref.String()+" v"+v)
	return fhir.Written{Ref: ref, Version: v, Answer: fhir.Answer{Body: text, ETag: fhir.ETag(v), At: time.Now()}}
}

func (h *hospital) now(ref fhir.Ref) string {
	all := h.versions[ref]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// Write makes a change, or not.
func (h *hospital) Write(_ context.Context, ch fhir.Change) (fhir.Written, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.mood(ch.Body); err != nil {
		return fhir.Written{}, err
	}
	w, err := h.write(ch, nil)
	return w, h.answered(err)
}

func (h *hospital) mood(body []byte) error {
	switch {
	case h.cut:
		return fhir.ErrUnreachable
	case h.status >= 500:
		return fmt.Errorf("%w: status %d", fhir.ErrUnreachable, h.status)
	case h.refuses != "" && strings.Contains(string(body), h.refuses):
		return refusal(http.StatusUnprocessableEntity, "not valid")
	}
	return nil
}

func (h *hospital) answered(err error) error {
	if err == nil && h.lose > 0 {
		h.lose--
		return fmt.Errorf("%w: its answer broke off", fhir.ErrUnreachable)
	}
	return err
}

func (h *hospital) write(ch fhir.Change, local map[string]string) (fhir.Written, error) {
	body := string(ch.Body)
	for from, to := range local {
		body = strings.ReplaceAll(body, `"`+from+`"`, `"`+to+`"`)
	}
	if ch.Ref.ID != "" {
		if _, ok := h.versions[ch.Ref]; !ok {
			return fhir.Written{}, refusal(http.StatusNotFound, "no such resource")
		}
		if v := fmt.Sprint(len(h.versions[ch.Ref])); ch.Base == "" || ch.Base != v {
			return fhir.Written{}, refusal(http.StatusPreconditionFailed, "version")
		}
		return h.put(ch.Ref, body), nil
	}
	found := h.search(ch.Ref.Type, ch.NoneExist)
	switch {
	case len(found) > 1:
		return fhir.Written{}, refusal(http.StatusPreconditionFailed, "several")
	case len(found) == 1:
		ref := found[0]
		return fhir.Written{Ref: ref, Version: fmt.Sprint(len(h.versions[ref])), Found: true, Answer: fhir.Answer{Body: []byte(h.now(ref)), At: time.Now()}}, nil
	}
	for _, r := range references(body) { // referential integrity
		ref := fhir.Resolve(r, "")
		if ref.ID != "" && ref.Type != "Practitioner" && h.versions[ref] == nil {
			return fhir.Written{}, refusal(http.StatusUnprocessableEntity, "it refers to nothing: "+r)
		}
	}
	h.serial++
	return h.put(fhir.Ref{Type: ch.Ref.Type, ID: fmt.Sprint(h.serial)}, body), nil
}

func references(body string) (all []string) {
	for _, part := range strings.Split(body, `"reference":"`)[1:] {
		one, _, _ := strings.Cut(part, `"`)
		all = append(all, one)
	}
	return all
}

func (h *hospital) search(typ, query string) (found []fhir.Ref) {
	q, _ := url.ParseQuery(query)
	system, value, _ := strings.Cut(q.Get("identifier"), "|")
	for ref := range h.versions {
		var r struct {
			Identifier []struct{ System, Value string }
		}
		_ = json.Unmarshal([]byte(h.now(ref)), &r)
		for _, id := range r.Identifier {
			if ref.Type == typ && id.System == system && id.Value == value {
				found = append(found, ref)
			}
		}
	}
	return found
}

// Transact makes all of a Bundle or nothing.
func (h *hospital) Transact(_ context.Context, bundle []byte) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.mood(bundle); err != nil {
		return nil, err
	}
	var b struct {
		Entry []struct {
			FullURL  string
			Resource json.RawMessage
			Request  struct{ Method, URL, IfMatch, IfNoneExist string }
		}
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return nil, refusal(http.StatusBadRequest, "no bundle")
	}
	before, log, serial := map[fhir.Ref][]string{}, slices.Clone(h.log), h.serial
	for k, v := range h.versions {
		before[k] = slices.Clone(v)
	}
	local, out := map[string]string{}, []string{}
	for _, e := range b.Entry {
		typ, id, _ := strings.Cut(e.Request.URL, "/")
		w, err := h.write(fhir.Change{Ref: fhir.Ref{Type: typ, ID: id}, Body: e.Resource, Base: fhir.VersionOf(e.Request.IfMatch), NoneExist: e.Request.IfNoneExist}, local)
		if err != nil {
			h.versions, h.log, h.serial = before, log, serial
			return nil, err
		}
		local[e.FullURL] = w.Ref.String()
		out = append(out, fmt.Sprintf(`{"response":{"status":"201 Created","location":"%s/_history/%s","etag":"W/\"%s\""}}`, w.Ref, w.Version, w.Version))
	}
	return []byte(`{"resourceType":"Bundle","type":"transaction-response","entry":[` + strings.Join(out, ",") + `]}`), h.answered(nil)
}

// Ask answers what the desk and a reader ask.
func (h *hospital) Ask(_ context.Context, q fhir.Query, _ string) (fhir.Answer, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	a := fhir.Answer{At: time.Now(), Policy: fhir.Policy{MaxAge: -1}}
	if h.cut {
		return a, false, fhir.ErrUnreachable
	}
	switch q := q.(type) {
	case fhir.Ref:
		body := h.now(q)
		if body == "" {
			return a, false, refusal(http.StatusNotFound, "no such resource")
		}
		a.Body, a.ETag = []byte(body), fhir.ETag(fmt.Sprint(len(h.versions[q])))
	case fhir.History:
		if h.versions[q.Of] == nil {
			return a, false, refusal(http.StatusNotFound, "no such resource")
		}
		var all []json.RawMessage
		for _, v := range slices.Backward(h.versions[q.Of]) {
			all = append(all, json.RawMessage(`{"resource":`+v+`}`))
		}
		a.Body = fhir.JoinHistory(all)
	case fhir.Listing:
		var all []json.RawMessage
		for _, ref := range h.search(q.Type, q.Query) {
			all = append(all, fhir.NewEntry([]byte(h.now(ref)), false))
		}
		a.Body = fhir.Join(all)
	case fhir.Search:
		var all []json.RawMessage
		for ref := range h.versions {
			if f, err := fhir.Facet([]byte(h.now(ref)), ""); err == nil && ref.Type == q.Type && q.Matches(f) {
				all = append(all, fhir.NewEntry([]byte(h.now(ref)), false))
			}
		}
		slices.SortFunc(all, func(a, b json.RawMessage) int { return strings.Compare(string(a), string(b)) })
		a.Body = fhir.Join(all)
	default:
		return a, false, fmt.Errorf("a question of %T", q)
	}
	return a, true, nil
}
