package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kinds of Bundle that answer a question.
const (
	KindSearch  = "searchset"
	KindHistory = "history"
)

// Modes of an entry (search.mode).
const (
	ModeMatch   = "match"
	ModeInclude = "include"
)

// Page is one page of an answer, checked. Its resources are the EHR's bytes.
type Page struct {
	Entries []json.RawMessage
	Matches int    // entries that are no includes
	Next    string // Bundle.link next as it stands, empty on the last page
	Total   int    // matches of the whole search as the EHR counts; -1 when it does not say
}

// ErrForeign is an answer that holds what was not asked for: another resource, or one of
// another patient or of a patient nobody can tell.
var ErrForeign = fmt.Errorf("%w: a resource that was not asked for", ErrBody)

// Target is what is asked for, relative to the server's base.
func (s Search) Target() string { return s.Key() }

// Page checks one page of the answer: every match is of the type and of the
// patient asked for, and what is included is that patient's or nobody's. One that
// is not spoils the page.
func (s Search) Page(body []byte, base string) (Page, error) {
	return decodePage(body, KindSearch, func(raw json.RawMessage) (json.RawMessage, error) { return s.entry(raw, base) })
}

// decodePage reads a page. check returns an entry as it is kept, or nil.
func decodePage(body []byte, kind string, check func(json.RawMessage) (json.RawMessage, error)) (Page, error) {
	m, err := members(body, "resourceType", "type", "total", "entry", "link")
	if err != nil {
		return Page{}, err
	}
	if t, _ := text(m["resourceType"]); t != "Bundle" {
		return Page{}, fmt.Errorf("%w: want a Bundle", ErrBody)
	}
	if t, _ := text(m["type"]); t != kind {
		return Page{}, fmt.Errorf("%w: want a Bundle of type %s", ErrBody, kind)
	}
	p := Page{Total: -1}
	if raw := m["total"]; raw != nil {
		if err := json.Unmarshal(raw, &p.Total); err != nil {
			return Page{}, fmt.Errorf("%w: Bundle.total is not a number", ErrBody)
		}
	}
	entries, err := list(m["entry"], "Bundle.entry")
	if err != nil {
		return Page{}, err
	}
	for i, e := range entries {
		keep, err := check(e)
		if err != nil {
			return Page{}, fmt.Errorf("entry %d: %w", i, err)
		}
		if keep == nil {
			continue
		}
		p.Entries = append(p.Entries, keep)
		if !bytes.HasPrefix(keep, includeHead) {
			p.Matches++
		}
	}
	p.Next, err = nextLink(m["link"])
	return p, err
}

func list(raw json.RawMessage, what string) (all []json.RawMessage, err error) {
	if raw == nil {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%w: %s is not a list", ErrBody, what)
	}
	return all, nil
}

// An entry as it is kept and given: its mode, then its resource's bytes.
var (
	matchHead   = []byte(`{"search":{"mode":"match"},"resource":`)
	includeHead = []byte(`{"search":{"mode":"include"},"resource":`)
)

func entryOf(resource json.RawMessage, mode string) json.RawMessage {
	head := matchHead
	if mode == ModeInclude {
		head = includeHead
	}
	return slices.Concat(head, resource, []byte{'}'})
}

// NewEntry is an entry of a searchset.
func NewEntry(resource json.RawMessage, include bool) json.RawMessage {
	if include {
		return entryOf(resource, ModeInclude)
	}
	return entryOf(resource, ModeMatch)
}

// ResourceOf returns the resource of an entry made by NewEntry, and whether it is
// an include.
func ResourceOf(entry json.RawMessage) (resource json.RawMessage, include, ok bool) {
	for _, head := range [][]byte{matchHead, includeHead} {
		if rest, found := bytes.CutPrefix(entry, head); found && len(rest) > 1 {
			return json.RawMessage(rest[:len(rest)-1]), &head[0] == &includeHead[0], true
		}
	}
	return nil, false, false
}

// entry checks one entry of a search and returns what is kept of it; the EHR's own
// outcome entries are dropped.
func (s Search) entry(raw json.RawMessage, base string) (json.RawMessage, error) {
	m, err := members(raw, "resource", "search")
	if err != nil {
		return nil, err
	}
	env, err := Decode(m["resource"], base)
	if err != nil || env.Type == "OperationOutcome" {
		return nil, err
	}
	included, err := isIncluded(m["search"])
	if err != nil {
		return nil, err
	}
	if included {
		if len(s.Include) == 0 {
			return nil, nil // not asked for
		}
		if s.Patient == (Ref{}) && env.Patient != (Ref{}) {
			return nil, fmt.Errorf("%w: a patient's record in a search for patients", ErrForeign)
		}
		return entryOf(m["resource"], ModeInclude), ownedBy(env, s.Patient)
	}
	switch {
	case env.Type != s.Type:
		return nil, fmt.Errorf("%w: got a %s in a search for %s", ErrForeign, env.Type, s.Type)
	case env.ID == "":
		return nil, fmt.Errorf("%w: a resource without id", ErrBody)
	case s.Type == "Patient":
		err = s.carries(m["resource"])
	case env.Patient != s.Patient:
		return nil, fmt.Errorf("%w: its patient is another or none", ErrForeign)
	}
	return entryOf(m["resource"], ModeMatch), err
}

func isIncluded(search json.RawMessage) (bool, error) {
	if search == nil {
		return false, nil
	}
	m, err := members(search, "mode")
	if err != nil {
		return false, err
	}
	mode, _ := text(m["mode"])
	return mode == ModeInclude, nil
}

// carries holds a patient found to the number that was searched for: the one thing
// about which no EHR has an opinion of its own.
func (s Search) carries(body []byte) error {
	for _, t := range s.Terms {
		if t.Name != "identifier" {
			continue
		}
		numbers, err := Numbers(body)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(t.Values, func(v string) bool { return slices.Contains(numbers, v[strings.LastIndexByte(v, '|')+1:]) }) {
			return fmt.Errorf("%w: a patient without the number asked for", ErrForeign)
		}
	}
	return nil
}

func nextLink(raw json.RawMessage) (string, error) {
	links, err := list(raw, "Bundle.link")
	if err != nil {
		return "", err
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
	matches := 0
	for _, e := range entries {
		if !bytes.HasPrefix(e, includeHead) {
			matches++
		}
	}
	return bundle{kind: KindSearch, total: matches, entries: entries}.bytes()
}

// JoinHistory is Join for a history.
func JoinHistory(entries []json.RawMessage) []byte {
	return bundle{kind: KindHistory, total: len(entries), entries: entries}.bytes()
}

// Entries are the entries of an answer that was joined here.
func Entries(joined []byte) ([]json.RawMessage, error) {
	m, err := members(joined, "entry")
	if err != nil {
		return nil, err
	}
	return list(m["entry"], "Bundle.entry")
}

// A View is how a joined answer is shown to a client.
type View struct {
	Kind   string
	Self   string // URL of the question, without the page
	Base   string // our own URL, for the entries'
	Window Window
	Extra  json.RawMessage // one more entry, such as an outcome, or nil
	Tags   []Tag           // of the Bundle's meta
}

// A Tag is a mark in meta.tag.
type Tag struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display,omitempty"`
}

// Show makes the page of a joined answer that a client asked for. Each page has the
// includes that its matches refer to.
func Show(joined []byte, v View) ([]byte, error) {
	all, err := Entries(joined)
	if err != nil {
		return nil, err
	}
	var matches, includes []json.RawMessage
	for _, e := range all {
		if bytes.HasPrefix(e, includeHead) {
			includes = append(includes, e)
		} else {
			matches = append(matches, e)
		}
	}
	b := bundle{kind: v.Kind, total: len(matches), tags: v.Tags, base: v.Base}
	from, to := min(v.Window.Offset, len(matches)), len(matches)
	b.links = append(b.links, link{"self", v.at(v.Window.Offset)})
	if n := v.Window.Count; n > 0 && from+n < len(matches) {
		to = from + n
		b.links = append(b.links, link{"next", v.at(to)})
	}
	b.entries = append(matches[from:to:to], referred(matches[from:to], includes, to-from == len(matches))...)
	if v.Extra != nil {
		b.entries = append(b.entries, v.Extra)
	}
	return b.bytes(), nil
}

func (v View) at(offset int) string {
	if v.Window.Count == 0 && offset == 0 {
		return v.Self
	}
	sep := "?"
	if strings.Contains(v.Self, "?") {
		sep = "&"
	}
	url := v.Self
	if v.Window.Count > 0 {
		url, sep = url+sep+"_count="+strconv.Itoa(v.Window.Count), "&"
	}
	if offset > 0 {
		url += sep + "_offset=" + strconv.Itoa(offset)
	}
	return url
}

// referred are the includes that matches refer to.
func referred(matches, includes []json.RawMessage, all bool) (keep []json.RawMessage) {
	if all {
		return includes
	}
	for _, in := range includes {
		resource, _, _ := ResourceOf(in)
		env, err := Decode(resource, "")
		if err != nil {
			continue
		}
		ref := []byte(env.Ref.String() + `"`)
		if slices.ContainsFunc(matches, func(m json.RawMessage) bool { return bytes.Contains(m, ref) }) {
			keep = append(keep, in)
		}
	}
	return keep
}

type link struct{ relation, url string }

// bundle is a Bundle before it is written.
type bundle struct {
	kind    string
	total   int
	links   []link
	tags    []Tag
	base    string // for fullUrl; empty: none
	entries []json.RawMessage
}

func (v bundle) bytes() []byte {
	size := 256
	for _, e := range v.entries {
		size += len(e) + 1 + 128
	}
	b := bytes.NewBuffer(make([]byte, 0, size))
	b.WriteString(`{"resourceType":"Bundle",`)
	if len(v.tags) > 0 {
		tags, _ := json.Marshal(v.tags) // of strings
		fmt.Fprintf(b, `"meta":{"tag":%s},`, tags)
	}
	fmt.Fprintf(b, `"type":"%s","total":%d`, v.kind, v.total)
	for i, l := range v.links {
		open := `,{`
		if i == 0 {
			open = `,"link":[{`
		}
		url, _ := json.Marshal(l.url) // a string always marshals
		fmt.Fprintf(b, `%s"relation":"%s","url":%s}`, open, l.relation, url)
		if i == len(v.links)-1 {
			b.WriteByte(']')
		}
	}
	for i, e := range v.entries {
		if i == 0 {
			b.WriteString(`,"entry":[`)
		} else {
			b.WriteByte(',')
		}
		v.entry(b, e)
	}
	if len(v.entries) > 0 {
		b.WriteByte(']') // an empty list is not valid JSON of FHIR's
	}
	b.WriteByte('}')
	return b.Bytes()
}

// entry writes an entry, with its place here if it is one of ours.
func (v bundle) entry(b *bytes.Buffer, e json.RawMessage) {
	resource, _, ok := ResourceOf(e)
	if v.base == "" || !ok {
		b.Write(e)
		return
	}
	if ref, ok := quickRef(resource); ok {
		fmt.Fprintf(b, `{"fullUrl":"%s/%s",`, v.base, ref)
		b.Write(e[1:])
		return
	}
	b.Write(e)
}

// quickRef reads type and id of a resource that has been checked before.
func quickRef(resource []byte) (string, bool) {
	var r struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
	}
	if json.Unmarshal(resource, &r) != nil || !IsType(r.ResourceType) || !isID(r.ID) {
		return "", false
	}
	return r.ResourceType + "/" + r.ID, true
}
