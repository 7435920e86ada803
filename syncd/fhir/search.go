package fhir

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a search as it arrives.
const (
	maxQuery  = 2048 // bytes
	maxParams = 16
	maxCount  = 1000 // resources on a page of ours
)

// Search is a search for one patient's resources of one type. Two searches that
// mean the same are equal in Type, Patient and Query; the page is ours to cut.
type Search struct {
	Type    string
	Patient Ref
	Query   string // canonical: patient first, then the others sorted; sent upstream
	Count   int    // page size asked for; 0: all
	Offset  int    // resources before the page
}

// passed are the parameters handed to the EHR as they are, with their type
// (search.html#ptypes); an empty type marks what shapes a result and is no
// search parameter by itself.
var passed = [...]struct{ name, typ string }{
	{"_lastUpdated", "date"}, {"_sort", ""}, {"category", "token"},
	{"code", "token"}, {"date", "date"}, {"status", "token"},
}

// ParseSearch checks and normalises a search. A parameter we could not honour is
// refused, never ignored: an ignored filter would show more than was asked for.
func ParseSearch(typ, rawQuery string) (Search, error) {
	if !IsType(typ) {
		return Search{}, fmt.Errorf("%w: got %q", ErrType, clip(typ))
	}
	if _, ok := slices.BinarySearch(clinical[:], typ); !ok {
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
			pair, err := s.take(name, v)
			if err != nil {
				return Search{}, err
			}
			if pair != "" {
				rest = append(rest, pair)
			}
		}
	}
	if s.Patient == (Ref{}) {
		return Search{}, fmt.Errorf("%w: want patient= with the id of one patient", ErrParam)
	}
	if len(rest) > maxParams {
		return Search{}, fmt.Errorf("%w: got %d parameters, want at most %d", ErrParam, len(rest), maxParams)
	}
	slices.Sort(rest)
	rest = slices.Insert(rest, 0, "patient="+s.Patient.String())
	s.Query = strings.Join(rest, "&")
	return s, nil
}

// take reads one parameter; it returns the pair to send upstream, if any.
func (s *Search) take(name, value string) (string, error) {
	switch {
	case name == "patient", name == "subject":
		return "", s.takePatient(name, value)
	case name == "_count":
		return "", s.takeNumber(name, value, &s.Count, 1, maxCount)
	case name == "_offset":
		return "", s.takeNumber(name, value, &s.Offset, 0, 1<<20)
	case name == "_format", name == "_pretty":
		return "", nil // content negotiation, see Acceptable
	case isPassed(name):
		if value == "" {
			return "", fmt.Errorf("%w: %s is empty", ErrParam, name)
		}
		return name + "=" + url.QueryEscape(value), nil
	}
	return "", fmt.Errorf("%w: got %q, want patient and any of %s", ErrParam, clip(name), supported())
}

func isPassed(name string) bool {
	for _, p := range passed {
		if p.name == name {
			return true
		}
	}
	return false
}

func supported() string {
	all := "_count"
	for _, p := range passed {
		all += " " + p.name
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

func (s *Search) takeNumber(name, value string, into *int, low, high int) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < low {
		return fmt.Errorf("%w: %s: got %q, want a number from %d", ErrParam, name, clip(value), low)
	}
	*into = min(n, high)
	return nil
}

// Key is the search's name in the cache: all of it but the page.
func (s Search) Key() string { return s.Type + "?" + s.Query }

// Clinical returns the types that can be searched by patient.
func Clinical() []string { return slices.Clone(clinical[:]) }
