package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Page is one page of a search answer, checked. Entries are the EHR's bytes.
type Page struct {
	Entries []json.RawMessage
	Next    string // Bundle.link next as it stands, empty on the last page
	Total   int    // matches of the whole search as the EHR counts; -1 when it does not say
}

// ErrForeign is an answer that holds what was not asked for: another resource, or one of
// another patient or of a patient nobody can tell.
var ErrForeign = fmt.Errorf("%w: a resource that was not asked for", ErrBody)

// Target is what is asked for, relative to the server's base.
func (s Search) Target() string { return s.Key() }

// Page checks one page of the answer: every entry is of the type and of the
// patient asked for. One that is not spoils the page.
func (s Search) Page(body []byte, base string) (Page, error) {
	return decodePage(body, func(raw json.RawMessage) (bool, error) { return checkEntry(raw, s, base) })
}

func decodePage(body []byte, check func(json.RawMessage) (keep bool, err error)) (Page, error) {
	m, err := members(body, "resourceType", "type", "total", "entry", "link")
	if err != nil {
		return Page{}, err
	}
	if t, _ := text(m["resourceType"]); t != "Bundle" {
		return Page{}, fmt.Errorf("%w: want a Bundle", ErrBody)
	}
	if t, _ := text(m["type"]); t != "searchset" {
		return Page{}, fmt.Errorf("%w: want a Bundle of type searchset", ErrBody)
	}
	p := Page{Total: -1}
	if raw := m["total"]; raw != nil {
		if err := json.Unmarshal(raw, &p.Total); err != nil {
			return Page{}, fmt.Errorf("%w: Bundle.total is not a number", ErrBody)
		}
	}
	var entries []json.RawMessage
	if raw := m["entry"]; raw != nil {
		if err := json.Unmarshal(raw, &entries); err != nil {
			return Page{}, fmt.Errorf("%w: Bundle.entry is not a list", ErrBody)
		}
	}
	for i, e := range entries {
		keep, err := check(e)
		if err != nil {
			return Page{}, fmt.Errorf("entry %d: %w", i, err)
		}
		if keep {
			p.Entries = append(p.Entries, e)
		}
	}
	p.Next, err = nextLink(m["link"])
	return p, err
}

// checkEntry reports whether an entry is a match to keep; the EHR's own outcome
// entries are dropped.
func checkEntry(raw json.RawMessage, s Search, base string) (bool, error) {
	m, err := members(raw, "resource")
	if err != nil {
		return false, err
	}
	env, err := Decode(m["resource"], base)
	if err != nil {
		return false, err
	}
	switch {
	case env.Type == "OperationOutcome":
		return false, nil
	case env.Type != s.Type:
		return false, fmt.Errorf("%w: got a %s in a search for %s", ErrForeign, env.Type, s.Type)
	case env.ID == "":
		return false, fmt.Errorf("%w: a resource without id", ErrBody)
	case env.Patient != s.Patient:
		return false, fmt.Errorf("%w: its patient is another or none", ErrForeign)
	}
	return true, nil
}

func nextLink(raw json.RawMessage) (string, error) {
	if raw == nil {
		return "", nil
	}
	var links []json.RawMessage
	if err := json.Unmarshal(raw, &links); err != nil {
		return "", fmt.Errorf("%w: Bundle.link is not a list", ErrBody)
	}
	for _, l := range links {
		m, err := members(l, "relation", "url")
		if err != nil {
			return "", err
		}
		if rel, _ := text(m["relation"]); rel == "next" {
			return text(m["url"])
		}
	}
	return "", nil
}

// Join makes the whole answer of a search out of the entries of its pages.
func Join(entries []json.RawMessage) []byte {
	return bundle(entries, len(entries), "")
}

// Cut makes the page of a joined answer that a client asked for. extra is one
// more entry for the page, such as an outcome, or nil; self is our own base URL.
func Cut(joined []byte, s Search, self string, extra json.RawMessage) ([]byte, error) {
	if s.Count == 0 && s.Offset == 0 && extra == nil {
		return joined, nil
	}
	m, err := members(joined, "entry")
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	if err := json.Unmarshal(m["entry"], &all); err != nil {
		return nil, fmt.Errorf("%w: Bundle.entry is not a list", ErrBody)
	}
	from := min(s.Offset, len(all))
	to := len(all)
	next := ""
	if s.Count > 0 && from+s.Count < len(all) {
		to = from + s.Count
		next = self + "/" + s.Key() + "&_count=" + strconv.Itoa(s.Count) + "&_offset=" + strconv.Itoa(to)
	}
	page := all[from:to:to]
	if extra != nil {
		page = append(page, extra)
	}
	return bundle(page, len(all), next), nil
}

func bundle(entries []json.RawMessage, total int, next string) []byte {
	size := 128 + len(next)
	for _, e := range entries {
		size += len(e) + 1
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	fmt.Fprintf(b, `{"resourceType":"Bundle","type":"searchset","total":%d,`, total)
	if next != "" {
		url, _ := json.Marshal(next) // a string always marshals
		fmt.Fprintf(b, `"link":[{"relation":"next","url":%s}],`, url)
	}
	b.WriteString(`"entry":[`)
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(e)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}
