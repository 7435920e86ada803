package fhir

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxFacets bounds the values of one parameter of one resource.
const maxFacets = 512

// Facets are what a resource is found by: its values of each search parameter of
// its type, and what it refers to.
type Facets struct {
	Patient Ref                 `json:"p,omitzero"`
	Tokens  map[string][]string `json:"t,omitempty"` // "system|code"; "*|code" where the element has no system
	Dates   map[string][]Span   `json:"d,omitempty"`
	Strings map[string][]string `json:"s,omitempty"`
	Refs    map[string][]string `json:"r,omitempty"` // "Type/id"
}

// Facet reads them out of a resource. base is the server's URL, for absolute
// references.
func Facet(body []byte, base string) (Facets, error) {
	env, err := Decode(body, base)
	if err != nil {
		return Facets{}, err
	}
	f := Facets{Patient: env.Patient}
	wanted := map[string]bool{}
	all := slices.Concat(params[env.Type], general[:])
	if params[env.Type] == nil {
		return f, nil // can't be searched for
	}
	for _, p := range all {
		for _, path := range p.paths {
			top, _, _ := strings.Cut(path, ".")
			wanted[top] = true
		}
	}
	names := make([]string, 0, len(wanted))
	for name := range wanted {
		names = append(names, name)
	}
	m, err := members(body, names...)
	if err != nil {
		return Facets{}, err
	}
	for _, p := range all {
		for _, path := range p.paths {
			top, rest, _ := strings.Cut(path, ".")
			if err := each(m[top], rest, 0, func(raw json.RawMessage) { f.add(p, raw, base) }); err != nil {
				return Facets{}, err
			}
		}
	}
	return f, nil
}

// each calls fn with every element at a path, through lists.
func each(raw json.RawMessage, path string, depth int, fn func(json.RawMessage)) error {
	if len(raw) == 0 || depth > 8 {
		return nil
	}
	if raw[0] == '[' {
		all, err := list(raw, "an element")
		for _, one := range all {
			if err := each(one, path, depth+1, fn); err != nil {
				return err
			}
		}
		return err
	}
	if path == "" {
		fn(raw)
		return nil
	}
	if raw[0] != '{' {
		return nil
	}
	top, rest, _ := strings.Cut(path, ".")
	m, err := members(raw, top)
	if err != nil {
		return err
	}
	return each(m[top], rest, depth+1, fn)
}

// add notes one element. What is not as it should be can't be found by it.
func (f *Facets) add(p param, raw json.RawMessage, base string) {
	switch p.kind {
	case KindToken:
		note(&f.Tokens, p.name, tokens(raw)...)
	case KindDate:
		if s, ok := spanOf(raw); ok {
			note(&f.Dates, p.name, s)
		}
	case KindString:
		note(&f.Strings, p.name, words(raw)...)
	case KindRef:
		var r struct{ Reference string }
		if json.Unmarshal(raw, &r) != nil {
			return
		}
		if ref, err := resolveRef(r.Reference, base); err == nil {
			note(&f.Refs, p.name, ref.String())
		}
	}
}

func note[V comparable](into *map[string][]V, name string, values ...V) {
	for _, v := range values {
		if len((*into)[name]) >= maxFacets || slices.Contains((*into)[name], v) {
			continue
		}
		if *into == nil {
			*into = map[string][]V{}
		}
		(*into)[name] = append((*into)[name], v)
	}
}

// tokens are the codes of a code, Coding, CodeableConcept or Identifier.
func tokens(raw json.RawMessage) (all []string) {
	if raw[0] != '{' {
		s := strings.Trim(string(raw), `"`)
		if len(s) > maxNumber {
			return nil
		}
		return []string{"*|" + s}
	}
	var t struct {
		System string
		Code   string
		Value  string
		Coding []Coding
	}
	if json.Unmarshal(raw, &t) != nil {
		return nil
	}
	for _, c := range append(t.Coding, Coding{System: t.System, Code: cmp.Or(t.Code, t.Value)}) {
		if c.Code != "" && len(c.System)+len(c.Code) <= 2*maxNumber {
			all = append(all, c.System+"|"+c.Code)
		}
	}
	return all
}

// spanOf is the time of a date or a Period.
func spanOf(raw json.RawMessage) (Span, bool) {
	if s, err := text(raw); err == nil {
		span, err := parseSpan(s)
		return span, err == nil
	}
	var period struct{ Start, End string }
	if json.Unmarshal(raw, &period) != nil || period.Start == "" && period.End == "" {
		return Span{}, false
	}
	span := Span{minTime, maxTime}
	if s, err := parseSpan(period.Start); err == nil {
		span.Start = s.Start
	}
	if s, err := parseSpan(period.End); err == nil {
		span.End = s.End
	}
	return span, true
}

// words are the parts of a HumanName, or a string.
func words(raw json.RawMessage) (all []string) {
	if s, err := text(raw); err == nil {
		all = []string{s}
	}
	var n HumanName
	if raw[0] == '{' && json.Unmarshal(raw, &n) == nil {
		all = append(append([]string{n.Family}, n.Given...), n.Text)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" || len(s) > maxNumber })
}

// fold makes names comparable: no case, no accents.
func fold(s string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(s)))
}

// prefixRunes is how much of a name a list is kept for; what is longer is looked for
// among those.
const prefixRunes = 6

// Years of birth that patients are listed by.
const (
	firstYear = 1850
	lastYear  = 2150
)

// Lists names the lists that a resource of a type stands in, so that it is found
// without looking at all others: a patient's resources of its type; a patient, by
// number, the beginnings of names, day and year of birth.
func (f Facets) Lists(typ string) (lists []string) {
	if typ != "Patient" {
		if _, ok := slices.BinarySearch(clinical[:], typ); ok && f.Patient != (Ref{}) {
			lists = append(lists, filed(f.Patient, typ))
		}
		return lists
	}
	for _, t := range f.Tokens["identifier"] {
		lists = append(lists, "number/"+t[strings.LastIndexByte(t, '|')+1:])
	}
	for _, name := range f.Strings["name"] {
		for _, word := range strings.Fields(fold(name)) {
			begin := []rune(word)
			for n := 1; n <= min(prefixRunes, len(begin)); n++ {
				lists = append(lists, "name/"+string(begin[:n]))
			}
		}
	}
	born := "born/"
	for _, d := range f.Dates["birthdate"] {
		t := time.UnixMilli(d.Start).UTC()
		lists = append(lists, "birth/"+t.Format(time.DateOnly))
		if t.Year() >= firstYear && t.Year() <= lastYear {
			born = fmt.Sprint("born/", t.Year())
		}
	}
	lists = append(lists, born)
	slices.Sort(lists)
	return slices.Compact(lists)
}

func filed(patient Ref, typ string) string { return "filed/" + patient.String() + "/" + typ }

// Filed is the list of a patient's resources of a type.
func Filed(patient Ref, typ string) string { return filed(patient, typ) }

// Candidates names what to look at for a search's matches: resources by key, or
// lists, the shortest that are sure to have them all.
func (s Search) Candidates() (keys, lists []string) {
	if s.Patient != (Ref{}) {
		return nil, []string{filed(s.Patient, s.Type)}
	}
	for _, by := range []func(Term) []string{byID, byNumber, byBirth, byName} {
		for _, t := range s.Terms {
			found := by(t)
			switch {
			case found == nil:
			case t.Name == "_id":
				return found, nil
			default:
				return nil, found
			}
		}
	}
	for year := firstYear; year <= lastYear; year++ {
		lists = append(lists, fmt.Sprint("born/", year))
	}
	return nil, append(lists, "born/")
}

func byID(t Term) (keys []string) {
	if t.Name != "_id" {
		return nil
	}
	for _, v := range t.Values {
		keys = append(keys, "Patient/"+v)
	}
	return keys
}

func byNumber(t Term) (lists []string) {
	if t.Name != "identifier" {
		return nil
	}
	for _, v := range t.Values {
		number := v[strings.LastIndexByte(v, '|')+1:]
		if number == "" {
			return nil
		}
		lists = append(lists, "number/"+number)
	}
	return lists
}

func byBirth(t Term) (lists []string) {
	if t.Name != "birthdate" {
		return nil
	}
	for _, v := range t.Values {
		d, err := parseDateTerm(v)
		if err != nil || d.op != "eq" || d.End-d.Start != 24*time.Hour.Milliseconds() {
			return nil
		}
		lists = append(lists, "birth/"+time.UnixMilli(d.Start).UTC().Format(time.DateOnly))
	}
	return lists
}

func byName(t Term) (lists []string) {
	if t.Kind != KindString || t.Contains {
		return nil
	}
	for _, v := range t.Values {
		word := strings.Fields(fold(v))
		if len(word) == 0 {
			return nil
		}
		begin := []rune(word[0])
		lists = append(lists, "name/"+string(begin[:min(prefixRunes, len(begin))]))
	}
	return lists
}
