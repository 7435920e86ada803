package fhir

import (
	"encoding/json"
	"fmt"
	"net/url"
)

// A Listing is a question about more than one patient that the gateway asks for
// itself, never for a reader: who carries a number, what is ordered.
type Listing struct {
	Name   string // in the cache; a query with a moving date keeps one name
	Type   string // of what it lists
	Query  string // sent upstream
	Number string // when not empty, every Patient listed must carry it
}

// Key is the listing's name in the cache. No read or search of a record has one
// like it.
func (l Listing) Key() string { return "listing/" + l.Name }

// Target is what is asked for, relative to the server's base.
func (l Listing) Target() string { return l.Type + "?" + l.Query }

// Carriers lists the patients who carry a number.
func Carriers(number string) Listing {
	return Listing{Name: "carriers/" + number, Type: "Patient", Query: "identifier=" + url.QueryEscape(number), Number: number}
}

// Page checks one page of the answer. What was included beside the matches is
// dropped; a match that was not asked for spoils the page.
func (l Listing) Page(body []byte, base string) (Page, error) {
	return decodePage(body, KindSearch, func(raw json.RawMessage) (json.RawMessage, error) {
		keep, err := l.keep(raw, base)
		if err != nil || !keep {
			return nil, err
		}
		return raw, nil
	})
}

func (l Listing) keep(raw json.RawMessage, base string) (bool, error) {
	m, err := members(raw, "resource", "search")
	if err != nil {
		return false, err
	}
	if m["search"] != nil {
		s, err := members(m["search"], "mode")
		if err != nil {
			return false, err
		}
		if mode, _ := text(s["mode"]); mode == "include" || mode == "outcome" {
			return false, nil
		}
	}
	env, err := Decode(m["resource"], base)
	switch {
	case err != nil:
		return false, err
	case env.Type == "OperationOutcome":
		return false, nil
	case env.Type != l.Type:
		return false, fmt.Errorf("%w: got a %s in a list of %s", ErrForeign, env.Type, l.Type)
	case env.ID == "":
		return false, fmt.Errorf("%w: a resource without id", ErrBody)
	}
	if l.Number == "" {
		return true, nil
	}
	numbers, err := Numbers(m["resource"])
	if err != nil {
		return false, err
	}
	for _, n := range numbers {
		if n == l.Number {
			return true, nil
		}
	}
	return false, fmt.Errorf("%w: a patient without the number asked for", ErrForeign)
}

// Resources are the resources of a searchset that was joined here.
func Resources(joined []byte) ([]json.RawMessage, error) {
	m, err := members(joined, "entry")
	if err != nil {
		return nil, err
	}
	var entries []struct{ Resource json.RawMessage }
	if m["entry"] != nil {
		if err := json.Unmarshal(m["entry"], &entries); err != nil {
			return nil, fmt.Errorf("%w: Bundle.entry is not a list", ErrBody)
		}
	}
	all := make([]json.RawMessage, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.Resource)
	}
	return all, nil
}
