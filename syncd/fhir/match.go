package fhir

import (
	"cmp"
	"slices"
	"strings"
)

// Matches says whether a resource with these facets is one that the search is for.
func (s Search) Matches(f Facets) bool {
	if s.Patient != (Ref{}) && f.Patient != s.Patient {
		return false
	}
	return !slices.ContainsFunc(s.Terms, func(t Term) bool { return !t.holds(f) })
}

// holds: one of the values does.
func (t Term) holds(f Facets) bool {
	return slices.ContainsFunc(t.Values, func(want string) bool {
		switch t.Kind {
		case KindToken:
			return slices.ContainsFunc(f.Tokens[t.Name], func(have string) bool { return sameToken(want, have) })
		case KindDate:
			d, err := parseDateTerm(want)
			return err == nil && slices.ContainsFunc(f.Dates[t.Name], d.holds)
		case KindString:
			return slices.ContainsFunc(f.Strings[t.Name], func(have string) bool { return t.sameText(want, have) }) || t.sameWords(want, f.Strings[t.Name])
		}
		return false
	})
}

// sameToken compares as search.html#token has it: code, system|code, |code, system|.
func sameToken(want, have string) bool {
	at := strings.LastIndexByte(have, '|')
	haveSystem, haveCode := have[:at], have[at+1:]
	system, code, both := strings.Cut(want, "|")
	if !both {
		return want == haveCode
	}
	return (system == haveSystem || haveSystem == "*") && (code == "" || code == haveCode)
}

func (t Term) sameText(want, have string) bool {
	switch {
	case t.Exact:
		return want == have
	case t.Contains:
		return strings.Contains(fold(have), fold(want))
	}
	return strings.HasPrefix(fold(have), fold(want))
}

// sameWords: each word of what is looked for begins a word of the name.
func (t Term) sameWords(want string, have []string) bool {
	if t.Exact || t.Contains {
		return false
	}
	var parts []string
	for _, h := range have {
		parts = append(parts, strings.Fields(fold(h))...)
	}
	all := strings.Fields(fold(want))
	return len(all) > 0 && !slices.ContainsFunc(all, func(w string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, w) })
	})
}

// Compare orders two matches as _sort says. One without a value comes last.
func (s Search) Compare(a, b Facets) int {
	for _, k := range s.Sort {
		if n := k.compare(a, b); n != 0 {
			return n
		}
	}
	return 0
}

func (k Key) compare(a, b Facets) int {
	av, aok := k.value(a)
	bv, bok := k.value(b)
	switch {
	case !aok || !bok:
		return cmp.Compare(btoi(!aok), btoi(!bok))
	case k.Down:
		av, bv = bv, av
	}
	return cmp.Or(cmp.Compare(av.n, bv.n), strings.Compare(av.s, bv.s))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A sortable is a value to sort by: a time or a text.
type sortable struct {
	n int64
	s string
}

// value is the first by which a resource sorts: the least, or when it goes down the
// greatest (search.html#sort).
func (k Key) value(f Facets) (v sortable, ok bool) {
	var all []sortable
	for _, d := range f.Dates[k.Name] {
		all = append(all, sortable{n: d.Start})
	}
	for _, t := range f.Tokens[k.Name] {
		all = append(all, sortable{s: t[strings.LastIndexByte(t, '|')+1:]})
	}
	for _, s := range f.Strings[k.Name] {
		all = append(all, sortable{s: fold(s)})
	}
	if len(all) == 0 {
		return v, false
	}
	order := func(a, b sortable) int { return cmp.Or(cmp.Compare(a.n, b.n), strings.Compare(a.s, b.s)) }
	if k.Down {
		return slices.MaxFunc(all, order), true
	}
	return slices.MinFunc(all, order), true
}

// Refers lists what a match refers to by the search's _include.
func (s Search) Refers(f Facets) (refs []Ref) {
	for _, in := range s.Include {
		for _, r := range f.Refs[in.Name] {
			typ, id, _ := strings.Cut(r, "/")
			if in.Target == "" || in.Target == typ {
				refs = append(refs, Ref{typ, id})
			}
		}
	}
	return refs
}
