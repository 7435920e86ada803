package pending

import (
	"fmt"
	"strings"

	"clinicgate/syncd/fhir"
)

// A Lost is why an edit can't go to the EHR any more: what it builds on is not there.
type Lost struct{ What string }

// Error says what it builds on.
func (l *Lost) Error() string { return l.What }

// Outgoing makes what is sent of an edit, with the names and versions that hold at the
// EHR by now. ready is false while it builds on what is still under way. The error is
// a *Lost, or says that a resource can't be carried.
func (b *Book) Outgoing(e Edit) (all []fhir.Change, ready bool, err error) {
	for i := range e.Changes {
		out, ready, err := b.outgoing(&e, i)
		if err != nil || !ready {
			return nil, ready, err
		}
		all = append(all, out)
	}
	return all, true, nil
}

func (b *Book) outgoing(e *Edit, i int) (out fhir.Change, ready bool, err error) {
	c := &e.Changes[i]
	ref, ready, err := b.name(e, c.Ref)
	if err != nil || !ready {
		return out, ready, err
	}
	if c.New {
		ref.ID = ""
		out.NoneExist = c.NoneExist
		if out.NoneExist == "" {
			out.NoneExist = "identifier=" + EditSystem + "|" + e.Mark(i)
		}
	} else if out.Base, ready, err = b.baseOf(c); err != nil || !ready {
		return out, ready, err
	}
	ready = true
	body, err := turned(c.Body, func(s string) (string, bool) {
		now, known, e2 := b.turn(e, s)
		if e2 != nil && err == nil {
			err = e2
		}
		ready = ready && known
		return now, now != s
	})
	if err != nil || !ready {
		return out, ready, err
	}
	out.Ref = ref
	out.Body, err = e.sent(i, ref.ID, body)
	return out, true, err
}

// name is what a changed resource is called at the EHR.
func (b *Book) name(e *Edit, ref fhir.Ref) (fhir.Ref, bool, error) {
	p, ok := b.made[ref]
	switch {
	case !ok || p.e.ID == e.ID:
		return ref, true, nil
	case p.e.State == Done:
		return p.change().At, true, nil
	case p.e.State.Open():
		return ref, false, nil
	}
	return ref, true, &Lost{"what it changes was not taken by the EHR itself"}
}

// baseOf is the version a change is based on, as the EHR calls it.
func (b *Book) baseOf(c *Change) (string, bool, error) {
	if !IsPending(c.Base) {
		return c.Base, true, nil
	}
	p, ok := b.version[c.Base]
	switch {
	case !ok:
		return "", true, &Lost{"the version it was based on is not known any more"}
	case p.e.State.Open():
		return "", false, nil
	case p.e.State != Done:
		return "", true, &Lost{"the change it was based on was not taken by the EHR itself"}
	case p.change().Found:
		return "", true, &Lost{"what it was based on was at the EHR already, in a version its author has not seen"}
	case p.change().Version == "":
		return "", true, &Lost{"the EHR did not say which version it made of the change before"}
	}
	return p.change().Version, true, nil
}

// turn is a reference as it must read at the EHR; known is false while what it names
// has no name there yet.
func (b *Book) turn(e *Edit, reference string) (now string, known bool, err error) {
	ref := b.resolve(reference)
	p, ok := b.made[ref]
	switch {
	case !ok:
		return reference, true, nil
	case p.e.ID == e.ID:
		return "urn:uuid:" + ref.ID, true, nil // in the same transaction
	case p.e.State == Done:
		return p.change().At.String(), true, nil
	case p.e.State.Open():
		return reference, false, nil
	}
	return reference, true, &Lost{fmt.Sprintf("it refers to a %s that was not taken by the EHR itself", ref.Type)}
}

func (b *Book) resolve(reference string) fhir.Ref {
	rel, _, _ := strings.Cut(reference, "/_history/")
	return fhir.Resolve(rel, b.base)
}

// Current are the references of a resource by the names that hold now: for whoever
// writes with a name from before.
func (b *Book) Current(body []byte) ([]byte, error) {
	return turned(body, func(s string) (string, bool) {
		p, ok := b.made[b.resolve(s)]
		if !ok || p.e.State != Done {
			return s, false
		}
		return p.change().At.String(), true
	})
}

// Renamed replaces the names by which the entries of a Bundle refer to one another.
func Renamed(body []byte, names map[string]fhir.Ref) ([]byte, error) {
	if len(names) == 0 {
		return body, nil
	}
	return turned(body, func(s string) (string, bool) {
		ref, ok := names[s]
		return ref.String(), ok
	})
}
