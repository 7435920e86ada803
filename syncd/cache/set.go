package cache

import (
	"encoding/json"
	"fmt"

	"clinicgate/syncd/fhir"
)

// The answer to a search is kept as a list of what was in it, and each resource
// under its own key: read by id, searched for in another way or found offline, it is
// the same one, and never kept twice.

// A member is one line of such a list.
type member struct {
	Ref     string `json:"r"`
	Include bool   `json:"i,omitempty"`
}

// isSet says whether a question's answer is kept so.
func isSet(q fhir.Query) bool {
	switch q.(type) {
	case fhir.Search, fhir.Everything:
		return true
	}
	return false
}

// putSet keeps the answer to a search, its resources first.
//
//	stop before the list is written: some resources are newer, the old list still
//	names what it named
func (r *Reader) putSet(q fhir.Query, a fhir.Answer) error {
	members, resources, err := r.members(a)
	if err != nil {
		return err
	}
	lists := []Keyed{listOf(q.Key(), a, members)}
	if e, ok := q.(fhir.Everything); ok && e.Since == "" {
		lists = append(lists, r.partsOf(e, a, members)...)
	}
	return r.Cache.PutAll(append(resources, lists...))
}

func listOf(key string, a fhir.Answer, members []member) Keyed {
	if members == nil {
		members = []member{}
	}
	a.Body, _ = json.Marshal(members) // of strings
	return Keyed{key, a}
}

// members takes an answer apart. resources are those that are not kept as they are
// already.
func (r *Reader) members(a fhir.Answer) (members []member, resources []Keyed, err error) {
	entries, err := fhir.Entries(a.Body)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		resource, include, ok := fhir.ResourceOf(e)
		if !ok {
			return nil, nil, fmt.Errorf("%w: an entry that was not joined here", errRecord)
		}
		env, err := fhir.Decode(resource, r.Cache.base)
		if err != nil {
			return nil, nil, err
		}
		members = append(members, member{env.Ref.String(), include})
		one := fhir.Answer{Body: resource, At: a.At, Policy: a.Policy}
		if env.Version != "" {
			one.ETag = `W/"` + env.Version + `"`
		}
		if !env.Updated.IsZero() {
			one.LastModified = httpTime(env.Updated)
		}
		old, ok, err := r.Cache.Get(env.Ref.Key())
		same := err == nil && ok && (string(old.Body) == string(resource) || old.ETag != "" && old.ETag == one.ETag)
		if !same {
			resources = append(resources, Keyed{env.Ref.Key(), one})
		}
	}
	return members, resources, nil
}

// partsOf are the lists that the whole of a patient makes: of each type, everything.
func (r *Reader) partsOf(e fhir.Everything, a fhir.Answer, all []member) (lists []Keyed) {
	of := map[string][]member{}
	for _, m := range all {
		if ref, ok := m.ref(); ok && !m.Include {
			of[ref.Type] = append(of[ref.Type], m)
		}
	}
	for _, t := range fhir.Clinical() {
		if e.Wants(t) {
			lists = append(lists, listOf(fhir.Whole(t, e.Patient).Key(), a, of[t]))
		}
	}
	return lists
}

func (m member) ref() (fhir.Ref, bool) {
	found := Found{}
	found.Ref.Type, found.Ref.ID = cut(m.Ref)
	return found.Ref, isRef(m.Ref)
}

// readList is the list that was stored under a key.
func (c *Cache) readList(key string) (a fhir.Answer, members []member, ok bool, err error) {
	a, ok, err = c.Get(key)
	if err != nil || !ok {
		return a, nil, false, err
	}
	if err := json.Unmarshal(a.Body, &members); err != nil {
		return a, nil, false, fmt.Errorf("%w: a list that is none", errRecord)
	}
	return a, members, true, nil
}

// assemble puts an answer together again. lost is how many of its resources are not
// kept any more.
func (c *Cache) assemble(members []member) (body []byte, lost int) {
	entries := make([]json.RawMessage, 0, len(members))
	for _, m := range members {
		a, ok, err := c.Get(m.Ref)
		if err != nil || !ok {
			lost++
			continue
		}
		entries = append(entries, fhir.NewEntry(a.Body, m.Include))
	}
	return fhir.Join(entries), lost
}

// stored returns what the cache has of a question. A record that does not open is as
// good as none, and is said.
func (r *Reader) stored(q fhir.Query) (a *fhir.Answer, partial string) {
	got, members, ok, err := fhir.Answer{}, []member(nil), false, error(nil)
	if isSet(q) {
		if got, members, ok, err = r.Cache.readList(q.Key()); ok {
			lost := 0
			if got.Body, lost = r.Cache.assemble(members); lost > 0 {
				partial = fmt.Sprintf("%d of %d records are not kept here any more.", lost, len(members))
			}
		}
	} else {
		got, ok, err = r.Cache.Get(q.Key())
	}
	if err != nil {
		r.Log.Error("a stored answer is not usable, asking for it again", "err", err)
	}
	if err != nil || !ok {
		return nil, ""
	}
	return &got, partial
}
