package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/trail"
)

// accesses is the type under which patients read who saw their record.
const accesses = "AuditEvent"

// shown is how many accesses one answer has at most, and without _count.
const shown = 200

// A logPage is which part of a patient's log is asked for, the newest first.
type logPage struct {
	patient       fhir.Ref
	count, offset int
}

// parseLog reads AuditEvent?patient=ID. Any other parameter is refused, as
// everywhere: an ignored filter would show more than was asked for.
func parseLog(rawQuery string) (logPage, error) {
	p := logPage{count: shown}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(rawQuery) > 512 {
		return p, fmt.Errorf("%w: the query is not well formed", fhir.ErrParam)
	}
	for name, all := range values {
		v := all[0]
		switch {
		case len(all) > 1:
			return p, fmt.Errorf("%w: %s is there twice", fhir.ErrParam, name)
		case name == "patient":
			p.patient, err = fhir.ParseRef("Patient", strings.TrimPrefix(v, "Patient/"))
		case name == "_count":
			p.count, err = number(name, v, 1, shown)
		case name == "_offset":
			p.offset, err = number(name, v, 0, 1<<20)
		case name == "_format", name == "_pretty": // see acceptable
		default:
			err = fmt.Errorf("%w: got %.40q, want patient, _count, _offset", fhir.ErrParam, name)
		}
		if err != nil {
			return p, err
		}
	}
	if p.patient.ID == "" {
		return p, fmt.Errorf("%w: want patient=ID", fhir.ErrParam)
	}
	return p, nil
}

func number(name, v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%w: %s: got %.20q, want %d to %d", fhir.ErrParam, name, v, least, most)
	}
	return n, nil
}

// accessLog answers who saw a patient's record, to that patient and nobody else.
// It is an access itself, and traced as one.
func (h *Handler) accessLog(ctx context.Context, in inquiry, g grant.Grant, e trail.Entry) answer {
	if g.Role != wire.RolePatient {
		return h.denied(e, &grant.Refusal{Reason: grant.Role})
	}
	page, err := parseLog(in.query)
	if err == nil {
		err = in.accept
	}
	if err != nil {
		return refused(err)
	}
	e.Patient, e.What = page.patient.String(), accesses+"?patient="+page.patient.String()
	q := fhir.Search{Type: accesses, Patient: page.patient}
	o := h.owner(ctx, g, q, page.patient)
	if e.Purpose, err = g.Over(o); err != nil {
		return h.denied(e, err)
	}
	all, total, before, err := h.seen(page, func(numbers []string) bool {
		return slices.ContainsFunc(numbers, func(n string) bool { return slices.Contains(o.Names, g.Name(n)) })
	})
	if err != nil {
		h.Log.Error("the trail can't be read", "err", err)
		return h.traced(e, failure(http.StatusInternalServerError, fhir.CodeException, "the log of accesses could not be read; call support"))
	}
	return h.traced(e, answer{status: http.StatusOK, header: map[string]string{}, trace: "log", body: h.bundle(page, all, total, before)})
}

// seen goes through the trail, one asker at a time, and keeps as much as the page
// needs. It returns the page, newest first, how many there are in all, and until when
// older ones are with the EHR alone.
func (h *Handler) seen(page logPage, of func(numbers []string) bool) (_ []trail.Entry, total int, before time.Time, _ error) {
	h.walking.Lock()
	defer h.walking.Unlock()
	last := make([]trail.Entry, 0, 64)
	keep := page.offset + page.count
	err := h.Trail.Walk(func(e trail.Entry) {
		if e.Mark != nil {
			before = e.Mark.Until
		}
		if !of(e.Patients()) {
			return
		}
		total++
		if last = append(last, e); len(last) >= 2*keep {
			last = slices.Clone(last[len(last)-keep:])
		}
	})
	slices.Reverse(last)
	last = last[min(page.offset, len(last)):]
	return last[:min(page.count, len(last))], total, before, err
}

func (h *Handler) bundle(page logPage, all []trail.Entry, total int, before time.Time) []byte {
	type entry struct {
		Resource json.RawMessage   `json:"resource"`
		Search   map[string]string `json:"search"`
	}
	type link struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	}
	at := func(offset int) string {
		return fmt.Sprintf("%s/%s?patient=%s&_count=%d&_offset=%d", h.Self, accesses, page.patient.String(), page.count, offset)
	}
	links := []link{{"self", at(page.offset)}}
	if next := page.offset + len(all); len(all) > 0 && next < total {
		links = append(links, link{"next", at(next)})
	}
	entries := []entry{}
	for _, e := range all {
		entries = append(entries, entry{e.AuditEvent(), map[string]string{"mode": "match"}})
	}
	if !before.IsZero() {
		text := fhir.Outcome("information", fhir.CodeInformation, "Accesses until "+stamp(before)+" are not kept here any more; the EHR has them.")
		entries = append(entries, entry{text, map[string]string{"mode": "outcome"}})
	}
	body, _ := json.Marshal(struct { // of strings and JSON: it can't fail
		ResourceType string  `json:"resourceType"`
		Type         string  `json:"type"`
		Total        int     `json:"total"`
		Link         []link  `json:"link"`
		Entry        []entry `json:"entry"`
	}{"Bundle", "searchset", total, links, entries})
	return body
}
