// Package phrase is all that the clinic's page says, in Spanish, English and
// Swedish: short words for people who look after patients, not after networks. Its
// one guarantee: what is said in one language is said in all.
package phrase

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lang is a language of the page, as HTML names it.
type Lang string

// The languages.
const (
	ES Lang = "es"
	EN Lang = "en"
	SV Lang = "sv"
)

// Langs is every language, in the order of the switch.
var Langs = [...]Lang{ES, EN, SV}

// Name is what the language calls itself.
func (l Lang) Name() string {
	return map[Lang]string{ES: "Español", EN: "English", SV: "Svenska"}[l]
}

// index is the language's place in the tables.
func (l Lang) index() int {
	for i, known := range Langs {
		if l == known {
			return i
		}
	}
	return 1 // English
}

// Find returns the language of that name.
func Find(name string) (Lang, bool) {
	for _, l := range Langs {
		if string(l) == name {
			return l, true
		}
	}
	return EN, false
}

// maxAccept bounds how much of a header is read; browsers send some forty bytes.
const maxAccept = 256

// Accepted picks the language a browser likes best of ours (RFC 9110 §12.5.4);
// English when it likes none.
func Accepted(header string) Lang {
	best, likes := EN, 0.0
	for _, one := range strings.Split(header[:min(len(header), maxAccept)], ",") {
		name, params, _ := strings.Cut(one, ";")
		name, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(name)), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(v, 64); err != nil || q < 0 || q > 1 {
				continue
			}
		}
		if l, ok := Find(name); ok && q > likes {
			best, likes = l, q
		}
	}
	return best
}

// Text says what id stands for. An id that is not in the table is said as it is: a
// person sees something, and a test of the table's users fails.
func (l Lang) Text(id string, args ...any) string {
	said, ok := words[id]
	if !ok {
		return id
	}
	if len(args) == 0 {
		return said[l.index()]
	}
	return fmt.Sprintf(said[l.index()], args...)
}

// Count says how many there are: the tables have "one|many", each with one %d.
func (l Lang) Count(id string, n int) string {
	one, many, _ := strings.Cut(l.Text(id), "|")
	if n == 1 {
		return fmt.Sprintf(one, n)
	}
	return fmt.Sprintf(many, n)
}

// List joins names: "A, B and C".
func (l Lang) List(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " " + l.Text("and") + " " + names[last]
}

// Span is a time's length in one unit, as short as clocks say it.
func (l Lang) Span(d time.Duration) string {
	switch {
	case d < 0: // a clock was set
		return l.Text("seconds", 0)
	case d < time.Minute:
		return l.Text("seconds", int(d/time.Second)/10*10) // or the page would change each second
	case d < time.Hour:
		return l.Text("minutes", int(d/time.Minute))
	case d < 48*time.Hour:
		return l.Text("hours", int(d/time.Hour))
	}
	return l.Count("days", int(d/(24*time.Hour)))
}

// Size is a number of bytes in decimal units.
func (l Lang) Size(n int64) string {
	text := fmt.Sprintf("%.1f GB", float64(n)/1e9)
	switch {
	case n < 1e6:
		text = fmt.Sprintf("%d kB", (n+999)/1000)
	case n < 1e9:
		text = fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	if l != EN {
		text = strings.Replace(text, ".", ",", 1)
	}
	return text
}

// Advice is what a fault means for the clinic, and what its staff do about it. The
// longest known beginning of the id decides; any fault has an advice.
func (l Lang) Advice(id string) (what, do string) {
	for key := id; ; {
		if said, ok := advice[key]; ok {
			i := l.index()
			return said[i][0], said[i][1]
		}
		at := strings.LastIndexAny(key, ".-")
		if at < 0 {
			said := advice[""]
			return said[l.index()][0], said[l.index()][1]
		}
		key = key[:at]
	}
}
