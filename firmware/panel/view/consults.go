package view

import (
	"time"

	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/wire"
)

// Consults are the teleconsultations: how many, for how long, and nobody's. What was
// asked and answered is read with a card, in the record.
type Consults struct {
	Known bool
	Kinds []Destination
	Do    string // empty: nothing has to be done
}

// shownAnswered is how long an answer is shown here as one: then it has been read, or
// somebody has forgotten it, and a page that says so for ever is one nobody reads.
const shownAnswered = 7 * 24 * time.Hour

// consultKinds are what a clinic tells apart: an answer first, for somebody waits for
// it.
var consultKinds = [...]struct{ id, mark string }{
	{"answered", "good"}, {"held", "bad"}, {"declined", "weak"}, {"waiting", "weak"}, {"sent", "idle"},
}

// consultsOf counts cases by what they wait for; nil is not known.
func consultsOf(cases []wire.Consult, l phrase.Lang, now time.Time) Consults {
	if cases == nil {
		return Consults{}
	}
	c := Consults{Known: true}
	for _, kind := range consultKinds {
		n, urgent := 0, 0
		var oldest time.Time
		for _, one := range cases {
			if consultKind(one, now) != kind.id {
				continue
			}
			n++
			if one.Urgent {
				urgent++
			}
			if oldest.IsZero() || one.Changed.Before(oldest) {
				oldest = one.Changed
			}
		}
		if n == 0 {
			continue
		}
		says := l.Count("consult."+kind.id, n)
		if urgent > 0 {
			says += ", " + l.Count("consult.urgent", urgent)
		}
		c.Kinds = append(c.Kinds, Destination{kind.mark, says + ", " + l.Text("queue.oldest", l.Span(now.Sub(oldest)))})
		if kind.id == "answered" {
			c.Do = l.Text("consult.do")
		}
	}
	return c
}

// consultKind is what a case is shown as; empty: it is over.
func consultKind(c wire.Consult, now time.Time) string {
	switch c.State {
	case "answered", "final":
		if now.Sub(c.Changed) < shownAnswered {
			return "answered"
		}
		return ""
	case "declined":
		if now.Sub(c.Changed) >= shownAnswered {
			return ""
		}
	}
	return c.State
}
