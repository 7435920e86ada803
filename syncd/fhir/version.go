package fhir

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Version is one version of a resource, which never changes.
type Version struct {
	Of     Ref
	Number string
}

// ParseVersion checks the version of a vread.
func ParseVersion(of Ref, number string) (Version, error) {
	if !isID(number) {
		return Version{}, fmt.Errorf("%w: want a version of 1 to 64 letters, digits, dots and hyphens", ErrID)
	}
	return Version{of, number}, nil
}

// Key names the version.
func (v Version) Key() string { return v.Of.String() + "/_history/" + v.Number }

// A History is all versions of one resource, newest first.
type History struct {
	Of Ref
	Window
}

// ParseHistory checks a history's parameters.
func ParseHistory(of Ref, rawQuery string) (History, error) {
	h := History{Of: of}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(rawQuery) > maxQuery {
		return h, fmt.Errorf("%w: the query is not well formed", ErrParam)
	}
	for name, all := range values {
		if known, err := h.takePage(name, all[0]); err != nil {
			return h, err
		} else if !known {
			return h, fmt.Errorf("%w: got %q, want _count", ErrParam, clip(name))
		}
	}
	return h, nil
}

// takePage reads what says which page is wanted, or nothing.
func (w *Window) takePage(name, value string) (known bool, err error) {
	switch name {
	case "_count":
		return true, w.takeNumber(name, value, &w.Count, 1, maxCount)
	case "_offset":
		return true, w.takeNumber(name, value, &w.Offset, 0, 1<<20)
	case "_format", "_pretty", "_total":
		return true, nil
	}
	return false, nil
}

// Key names the history.
func (h History) Key() string { return h.Of.String() + "/_history" }

// Target is what is asked for, relative to the server's base.
func (h History) Target() string { return h.Key() }

// Page checks one page of a history: every version is of the resource asked for.
func (h History) Page(body []byte, base string) (Page, error) {
	return decodePage(body, KindHistory, func(raw json.RawMessage) (json.RawMessage, error) {
		m, err := members(raw, "resource", "request", "fullUrl")
		if err != nil {
			return nil, err
		}
		if m["resource"] == nil { // a deletion: it names nothing but its URL
			return h.deletion(m["request"], base)
		}
		env, err := Decode(m["resource"], base)
		if err != nil {
			return nil, err
		}
		if env.Ref != h.Of {
			return nil, fmt.Errorf("%w: a version of another resource", ErrForeign)
		}
		return raw, nil
	})
}

// deletion is the entry of a deleted version, made anew of what could be checked.
func (h History) deletion(request json.RawMessage, base string) (json.RawMessage, error) {
	if request == nil {
		return nil, fmt.Errorf("%w: a version without resource and request", ErrBody)
	}
	m, err := members(request, "method", "url")
	if err != nil {
		return nil, err
	}
	method, _ := text(m["method"])
	link, _ := text(m["url"])
	ref, err := resolveRef(link, base)
	if err != nil || ref != h.Of || method != "DELETE" {
		return nil, fmt.Errorf("%w: a deletion of another resource", ErrForeign)
	}
	return json.RawMessage(`{"request":{"method":"DELETE","url":"` + h.Of.String() + `"}}`), nil
}

// Everything is Patient/ID/$everything: all that is filed under a patient and what
// it refers to.
type Everything struct {
	Patient Ref
	Since   string   // _since, as given
	Types   []string // _type, sorted; none: all
	Window
}

// ParseEverything checks the operation's parameters.
func ParseEverything(patient Ref, rawQuery string) (Everything, error) {
	e := Everything{Patient: patient}
	if patient.Type != "Patient" {
		return e, fmt.Errorf("%w: $everything is of a Patient", ErrParam)
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil || len(rawQuery) > maxQuery {
		return e, fmt.Errorf("%w: the query is not well formed", ErrParam)
	}
	for name, all := range values {
		known, err := e.takePage(name, all[0])
		switch {
		case err != nil:
			return e, err
		case known:
		case name == "_since" && len(all) == 1:
			at := strings.ReplaceAll(all[0], " ", "+")
			if _, err := time.Parse(time.RFC3339, at); err != nil {
				return e, fmt.Errorf("%w: _since: got %q, want an instant", ErrParam, clip(at))
			}
			e.Since = at
		case name == "_type":
			if err := e.takeTypes(all); err != nil {
				return e, err
			}
		default:
			return e, fmt.Errorf("%w: got %q, want _since, _type, _count", ErrParam, clip(name))
		}
	}
	return e, nil
}

func (e *Everything) takeTypes(all []string) error {
	for _, list := range all {
		for _, typ := range strings.Split(list, ",") {
			if !slices.Contains(Searchable(), typ) {
				return fmt.Errorf("%w: _type: got %q, want types that can be searched by patient", ErrParam, clip(typ))
			}
			e.Types = append(e.Types, typ)
		}
	}
	slices.Sort(e.Types)
	e.Types = slices.Compact(e.Types)
	return nil
}

// Key names the question, without the page.
func (e Everything) Key() string {
	key := e.Patient.String() + "/$everything?"
	if e.Since != "" {
		key += "_since=" + url.QueryEscape(e.Since) + "&"
	}
	if len(e.Types) > 0 {
		key += "_type=" + strings.Join(e.Types, ",") + "&"
	}
	return key[:len(key)-1]
}

// Target is what is asked for, relative to the server's base.
func (e Everything) Target() string { return e.Key() }

// Wants says whether resources of that type are asked for.
func (e Everything) Wants(typ string) bool { return len(e.Types) == 0 || slices.Contains(e.Types, typ) }

// Page checks one page: all of it is that patient's, or nobody's.
func (e Everything) Page(body []byte, base string) (Page, error) {
	return decodePage(body, KindSearch, func(raw json.RawMessage) (json.RawMessage, error) {
		m, err := members(raw, "resource")
		if err != nil {
			return nil, err
		}
		env, err := Decode(m["resource"], base)
		if err != nil || env.Type == "OperationOutcome" {
			return nil, err
		}
		if err := ownedBy(env, e.Patient); err != nil {
			return nil, err
		}
		return entryOf(m["resource"], ModeMatch), nil
	})
}

// ownedBy holds a resource to one patient: it is that one, or filed under that one,
// or of a type that is filed under nobody.
func ownedBy(env Envelope, patient Ref) error {
	_, filed := slices.BinarySearch(clinical[:], env.Type)
	switch {
	case env.ID == "":
		return fmt.Errorf("%w: a resource without id", ErrBody)
	case env.Patient == patient:
		return nil
	case env.Patient != Ref{}:
		return fmt.Errorf("%w: its patient is another", ErrForeign)
	case filed:
		return fmt.Errorf("%w: its patient is another or none", ErrForeign)
	}
	return nil
}
