package cache

import (
	"strings"

	"clinicgate/syncd/fhir"
)

// isRef says whether a key is of one resource, so that it can be searched for.
func isRef(key string) bool {
	typ, id, ok := strings.Cut(key, "/")
	if !ok || !fhir.IsType(typ) {
		return false
	}
	_, err := fhir.ParseRef(typ, id)
	return err == nil
}

// patientOfKey is the patient that a key names: of a record, a search, a history.
func patientOfKey(key string) (fhir.Ref, bool) {
	_, rest, ok := strings.Cut(key, "?patient=")
	if !ok {
		rest = key
	}
	rest, ok = strings.CutPrefix(rest, "Patient/")
	if !ok {
		return fhir.Ref{}, false
	}
	if end := strings.IndexAny(rest, "/&?"); end >= 0 {
		rest = rest[:end]
	}
	ref, err := fhir.ParseRef("Patient", rest)
	return ref, err == nil
}

func (c *Cache) listName(list string) short { return c.nameOf("list/" + list).short() }

// listsOf are the lists that a record stands in.
func (c *Cache) listsOf(s stored) (lists []short) {
	if len(s.facets) == 0 {
		return nil
	}
	typ, _, _ := strings.Cut(s.key, "/")
	for _, l := range s.find().Lists(typ) {
		lists = append(lists, c.listName(l))
	}
	return lists
}

// A Found is a stored resource, and what it is found by.
type Found struct {
	Ref fhir.Ref
	fhir.Answer
	Facets fhir.Facets
}

// List calls fn with the resources in a list. One that can't be read, or was evicted,
// is left out and makes whole false.
func (c *Cache) List(list string, fn func(Found)) (whole bool, err error) {
	l := c.listName(list)
	c.mu.RLock()
	names, err := c.index.list(l)
	names = merge(names, c.pending.lists[l])
	c.mu.RUnlock()
	if err != nil {
		return false, err
	}
	whole = true
	for _, n := range names {
		s, ok, err := c.get(n)
		if err != nil || !ok || !isRef(s.key) {
			whole = false
			continue
		}
		fn(s.found())
	}
	return whole, nil
}

// Find returns one resource with its facets.
func (c *Cache) Find(ref fhir.Ref) (Found, bool, error) {
	s, ok, err := c.get(c.nameOf(ref.Key()).short())
	if err != nil || !ok || s.key != ref.Key() {
		return Found{}, false, err
	}
	return s.found(), true, nil
}

func (s stored) found() Found {
	typ, id, _ := strings.Cut(s.key, "/")
	return Found{fhir.Ref{Type: typ, ID: id}, s.Answer, s.find()}
}
