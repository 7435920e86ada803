package fhir

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a search as it arrives.
const (
	maxQuery    = 4096 // bytes
	maxParams   = 16
	maxValues   = 64 // of one parameter, separated by commas
	maxIncludes = 8
	maxCount    = 1000 // resources on a page of ours
)

// A Window is the part of an answer that a client asked for: the page is ours to
// cut, so it is no part of a question's key.
type Window struct {
	Count  int // page size; 0: all
	Offset int // matches before the page
}

// Search is a search for one patient's resources of one type, or for patients. Two
// searches that mean the same are equal in Type, Patient and Query.
type Search struct {
	Type    string
	Patient Ref    // zero in a search for patients
	Query   string // canonical: patient first, then the others sorted; sent upstream
	Terms   []Term // what a match meets, beside the patient
	Sort    []Key  // first matters most
	Include []Include
	Window
	Ignored []string // parameters left out, as the client wished
}

// A Term is one condition; one of its values must hold.
type Term struct {
	Name, Kind string
	Exact      bool // of a string: equal; otherwise it begins so
	Contains   bool // of a string: anywhere
	Values     []string
}

// A Key is one of _sort.
type Key struct {
	Name string
	Down bool
}

// An Include is one of _include: what a match refers to by that parameter.
type Include struct{ Name, Target string }

// ParseSearch checks and normalises a search. A parameter we could not honour is
// refused, never ignored: an ignored filter would show more than was asked for.
func ParseSearch(typ, rawQuery string) (Search, error) { return parseSearch(typ, rawQuery, false) }

// ParseLenient is ParseSearch for a client that prefers handling=lenient: unknown
// parameters are left out, and named in Ignored.
func ParseLenient(typ, rawQuery string) (Search, error) { return parseSearch(typ, rawQuery, true) }

func parseSearch(typ, rawQuery string, lenient bool) (Search, error) {
	if !IsType(typ) {
		return Search{}, fmt.Errorf("%w: got %q", ErrType, clip(typ))
	}
	if _, ok := slices.BinarySearch(clinical[:], typ); !ok && typ != "Patient" {
		return Search{}, fmt.Errorf("%w: %s can't be searched here, only read by id", ErrParam, typ)
	}
	if len(rawQuery) > maxQuery {
		return Search{}, fmt.Errorf("%w: got a query of %d bytes, want at most %d", ErrParam, len(rawQuery), maxQuery)
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return Search{}, fmt.Errorf("%w: the query is not well formed", ErrParam)
	}
	s := Search{Type: typ}
	rest := []string{}
	for name, all := range values {
		for _, v := range all {
			pair, known, err := s.take(name, v)
			if !known && lenient {
				s.Ignored = append(s.Ignored, clip(name))
				continue
			}
			if err != nil {
				return Search{}, err
			}
			if pair != "" {
				rest = append(rest, pair)
			}
		}
	}
	if err := s.enough(); err != nil {
		return Search{}, err
	}
	if len(rest) > maxParams {
		return Search{}, fmt.Errorf("%w: got %d parameters, want at most %d", ErrParam, len(rest), maxParams)
	}
	slices.Sort(rest)
	slices.Sort(s.Ignored)
	slices.SortStableFunc(s.Terms, func(a, b Term) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), slices.Compare(a.Values, b.Values))
	})
	if s.Type != "Patient" {
		rest = slices.Insert(rest, 0, "patient="+s.Patient.String())
	}
	s.Query = strings.Join(rest, "&")
	return s, nil
}

// enough holds a search to one patient, or to what tells patients apart.
func (s *Search) enough() error {
	if s.Type != "Patient" && s.Patient == (Ref{}) {
		return fmt.Errorf("%w: want patient= with the id of one patient", ErrParam)
	}
	if s.Type == "Patient" && !slices.ContainsFunc(s.Terms, func(t Term) bool { return slices.Contains(finders[:], t.Name) }) {
		return fmt.Errorf("%w: want one or more of %s", ErrParam, strings.Join(finders[:], " "))
	}
	return nil
}

// take reads one parameter; it returns the pair to send upstream, if any.
func (s *Search) take(name, value string) (pair string, known bool, err error) {
	switch {
	case (name == "patient" || name == "subject") && s.Type != "Patient":
		return "", true, s.takePatient(name, value)
	case name == "_count":
		return "", true, s.takeNumber(name, value, &s.Count, 1, maxCount)
	case name == "_offset":
		return "", true, s.takeNumber(name, value, &s.Offset, 0, 1<<20)
	case name == "_format", name == "_pretty", name == "_total":
		return "", true, nil // content negotiation, see Acceptable; the total is always told
	case name == "_summary" && value == "false":
		return "", true, nil
	}
	if value == "" {
		return "", true, fmt.Errorf("%w: %s is empty", ErrParam, clip(name))
	}
	switch name {
	case "_sort":
		err = s.takeSort(value)
	case "_include":
		err = s.takeInclude(value)
	default:
		known, err = s.takeTerm(name, value)
		return name + "=" + url.QueryEscape(value), known, err
	}
	return name + "=" + url.QueryEscape(value), true, err
}

// takeTerm reads a condition.
func (s *Search) takeTerm(name, value string) (known bool, err error) {
	base, modifier, _ := strings.Cut(name, ":")
	p, ok := paramOf(s.Type, base)
	if !ok || p.kind == KindRef {
		return false, fmt.Errorf("%w: got %q, want any of %s", ErrParam, clip(name), s.supported())
	}
	t := Term{Name: p.name, Kind: p.kind, Values: strings.Split(value, ",")}
	switch {
	case modifier == "exact" && p.kind == KindString:
		t.Exact = true
	case modifier == "contains" && p.kind == KindString:
		t.Contains = true
	case modifier != "":
		return true, fmt.Errorf("%w: %q has a modifier that is not known here", ErrParam, clip(name))
	}
	if len(t.Values) > maxValues {
		return true, fmt.Errorf("%w: %s: got %d values, want at most %d", ErrParam, p.name, len(t.Values), maxValues)
	}
	for _, v := range t.Values {
		if v == "" {
			return true, fmt.Errorf("%w: %s has an empty value", ErrParam, p.name)
		}
		if p.kind == KindDate {
			if _, err := parseDateTerm(v); err != nil {
				return true, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	s.Terms = append(s.Terms, t)
	return true, nil
}

func (s *Search) takeSort(value string) error {
	if s.Sort != nil {
		return fmt.Errorf("%w: _sort is there twice", ErrParam)
	}
	for _, one := range strings.Split(value, ",") {
		name, down := strings.CutPrefix(one, "-")
		p, ok := paramOf(s.Type, name)
		if !ok || p.kind == KindRef || len(s.Sort) == maxIncludes {
			return fmt.Errorf("%w: _sort: got %q, want any of %s", ErrParam, clip(one), s.supported())
		}
		s.Sort = append(s.Sort, Key{name, down})
	}
	return nil
}

func (s *Search) takeInclude(value string) error {
	part := strings.Split(value, ":")
	if len(part) < 2 || len(part) > 3 || part[0] != s.Type || len(s.Include) == maxIncludes {
		return fmt.Errorf("%w: _include: got %q, want up to %d of %s:PARAMETER", ErrParam, clip(value), maxIncludes, s.Type)
	}
	if p, ok := paramOf(s.Type, part[1]); !ok || p.kind != KindRef {
		return fmt.Errorf("%w: _include: got %q, want any of %s", ErrParam, clip(value), strings.Join(names(s.Type, true), " "))
	}
	in := Include{Name: part[1]}
	if len(part) == 3 {
		if in.Target = part[2]; !IsType(in.Target) {
			return fmt.Errorf("_include: %w: got %q", ErrType, clip(in.Target))
		}
	}
	s.Include = append(s.Include, in)
	return nil
}

// supported names what a search of the type takes.
func (s *Search) supported() string {
	all := names(s.Type, false)
	if s.Type != "Patient" {
		all = append(all, "patient")
	}
	return strings.Join(append(all, "_count", "_sort", "_include"), " ")
}

// names are the search parameters of a type: references or all others.
func names(typ string, refs bool) (all []string) {
	for _, list := range [][]param{params[typ], general[:]} {
		for _, p := range list {
			if (p.kind == KindRef) == refs {
				all = append(all, p.name)
			}
		}
	}
	return all
}

func (s *Search) takePatient(name, value string) error {
	if name == "subject" && slices.Contains(patientOnly[:], s.Type) {
		return fmt.Errorf("%w: %s has no subject, want patient=", ErrParam, s.Type)
	}
	ref, err := ParseRef("Patient", strings.TrimPrefix(value, "Patient/"))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if s.Patient != (Ref{}) && s.Patient != ref {
		return fmt.Errorf("%w: two patients in one search", ErrParam)
	}
	s.Patient = ref
	return nil
}

func (w *Window) takeNumber(name, value string, into *int, low, high int) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < low {
		return fmt.Errorf("%w: %s: got %q, want a number from %d", ErrParam, name, clip(value), low)
	}
	*into = min(n, high)
	return nil
}

// Key is the search's name in the cache: all of it but the page.
func (s Search) Key() string { return s.Type + "?" + s.Query }

// Whole is the search for all of the patient's resources of the type.
func (s Search) Whole() Search { return Whole(s.Type, s.Patient) }

// Whole is the search for all resources of a type of one patient.
func Whole(typ string, patient Ref) Search {
	return Search{Type: typ, Patient: patient, Query: "patient=" + patient.String()}
}

// Clinical returns the types that can be searched by patient.
func Clinical() []string { return slices.Clone(clinical[:]) }

// For is the same search of another patient, or of the same by another name.
func (s Search) For(patient Ref) Search {
	if s.Patient == patient || s.Patient == (Ref{}) {
		return s
	}
	s.Query = "patient=" + patient.String() + strings.TrimPrefix(s.Query, "patient="+s.Patient.String())
	s.Patient = patient
	return s
}
