package worklist

import "strings"

// Query is the matching keys of a C-FIND (PS3.4 table K.6-1); empty matches all.
type Query struct {
	Name, ID, Accession, Study, Requested string
	Modality, Station, Date, Time, Step   string
}

// Most is the largest number of entries returned; a device with more is asked to
// be more exact.
const Most = 500

// Find returns the entries that meet the query, in their order, and whether there
// were more than Most.
func Find(all []Entry, q Query) (found []Entry, more bool) {
	for _, e := range all {
		if !q.meets(e) {
			continue
		}
		if len(found) == Most {
			return found, true
		}
		found = append(found, e)
	}
	return found, false
}

func (q Query) meets(e Entry) bool {
	return pattern(fold(q.Name), fold(e.Name)) && pattern(q.ID, e.ID) && pattern(q.Accession, e.Accession) &&
		list(q.Study, e.Study) && pattern(q.Requested, e.Requested) && pattern(q.Modality, e.Modality) &&
		(e.Station == "" || pattern(q.Station, e.Station)) && pattern(q.Step, e.Step) &&
		between(q.Date, e.Date) && between(minutes(q.Time), e.Time)
}

// fold makes names comparable: matching of PN may ignore case (§C.2.2.2.1), and a
// query without a caret means the family name's beginning as well as all of it.
func fold(name string) string { return strings.TrimRight(strings.ToUpper(name), "^ ") }

// pattern is single value and wildcard matching (§C.2.2.2.1, §C.2.2.2.4).
func pattern(p, s string) bool {
	if p == "" || p == "*" {
		return true
	}
	return wild([]rune(p), []rune(s))
}

// wild matches * and ? in time linear in len(p) times len(s).
func wild(p, s []rune) bool {
	star, mark, i, j := -1, 0, 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// list is list of UID matching (§C.2.2.2.2).
func list(p, uid string) bool {
	if p == "" {
		return true
	}
	for one := range strings.SplitSeq(p, `\`) {
		if one == uid {
			return true
		}
	}
	return false
}

// between is range matching of dates and times (§C.2.2.2.5). An entry without a
// date is due whenever somebody asks: an order is not lost for want of a time.
func between(p, v string) bool {
	if p == "" || v == "" {
		return true
	}
	from, to, ranged := strings.Cut(p, "-")
	if !ranged {
		return strings.HasPrefix(v, p) || p == v
	}
	return (from == "" || v >= from) && (to == "" || v <= to)
}

// minutes cuts the times of a range to what entries have: HHMM.
func minutes(p string) string {
	from, to, ranged := strings.Cut(p, "-")
	cut := func(s string) string { return s[:min(4, len(s))] }
	if !ranged {
		return cut(p)
	}
	return cut(from) + "-" + cut(to)
}
