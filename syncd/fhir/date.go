package fhir

import (
	"fmt"
	"strings"
	"time"
)

// A Span is the time a date stands for, from Start to just before End: 2026 is a
// whole year. A date without an offset is taken in UTC.
type Span struct {
	Start int64 `json:"s"` // Unix milliseconds
	End   int64 `json:"e"`
}

// layouts of date, dateTime and instant, the longest first, with what each leaves
// open.
var layouts = [...]struct {
	layout string
	next   func(time.Time) time.Time
}{
	{"2006-01-02T15:04:05.999999999Z07:00", func(t time.Time) time.Time { return t.Add(time.Second) }},
	{"2006-01-02T15:04:05.999999999", func(t time.Time) time.Time { return t.Add(time.Second) }},
	{"2006-01-02T15:04Z07:00", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02T15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
	{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
}

// parseSpan reads a date, dateTime or instant.
func parseSpan(s string) (Span, error) {
	if len(s) < 4 || len(s) > 40 {
		return Span{}, fmt.Errorf("%w: want a date", ErrBody)
	}
	for _, l := range layouts {
		t, err := time.Parse(l.layout, s)
		if err != nil {
			continue
		}
		end := l.next(t)
		if strings.Contains(s, ".") { // as exact as it is written
			end = t.Add(time.Millisecond)
		}
		return Span{t.UnixMilli(), end.UnixMilli()}, nil
	}
	return Span{}, fmt.Errorf("%w: want a date", ErrBody)
}

// A dateTerm is a date searched for, with its prefix (search.html#prefix).
type dateTerm struct {
	op string
	Span
}

func parseDateTerm(v string) (dateTerm, error) {
	d := dateTerm{op: "eq"}
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		d.op, v = v[:2], v[2:]
	}
	switch d.op {
	case "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb":
	default:
		return d, fmt.Errorf("%w: got prefix %q, want one of eq ne gt lt ge le sa eb", ErrParam, d.op)
	}
	v = strings.ReplaceAll(v, " ", "+") // an unescaped + of an offset
	var err error
	if d.Span, err = parseSpan(v); err != nil {
		return d, fmt.Errorf("%w: got %q, want a date like 2026-11-22 or 2026-11-22T08:00:00Z", ErrParam, clip(v))
	}
	return d, nil
}

// Ends of an open period.
const (
	minTime = -1 << 53
	maxTime = 1 << 53
)

// holds compares as search.html#prefix has it, with t the resource's time.
func (d dateTerm) holds(t Span) bool {
	inside := d.Start <= t.Start && t.End <= d.End
	switch d.op {
	case "eq":
		return inside
	case "ne":
		return !inside
	case "gt":
		return t.End > d.End
	case "lt":
		return t.Start < d.Start
	case "ge":
		return t.End > d.End || inside
	case "le":
		return t.Start < d.Start || inside
	case "sa":
		return t.Start >= d.End
	}
	return t.End <= d.Start // eb
}
