// Package identity judges whose an upload is. Its one guarantee: Match is said
// only when exactly one known patient carries the identifier the upload names (or
// is the patient of the order it names) and nothing else the upload says about the
// patient contradicts that; whatever is open is said as such, never guessed.
package identity

import (
	"slices"
	"strings"
)

// Claim is who an upload says it is about, and in answer to which order.
type Claim struct {
	ID        string // as sent, without padding
	Issuer    string // of ID, where the format has one: DICOM (0010,0021), PID-3.4
	Name      string // DICOM PN (FAMILY^GIVEN^...), or free text
	Birth     string // YYYYMMDD, or empty
	Study     string // Study Instance UID
	Accession string
	Ref       string // "Patient/1" at the EHR, where the upload itself says that
}

// Person is a patient as the EHR describes one.
type Person struct {
	Ref     string // "Patient/1"
	Numbers []Number
	Names   []Name
	Birth   string // YYYY, YYYY-MM, YYYY-MM-DD or empty
}

// Number is what a patient is known by.
type Number struct{ System, Value string }

// Order is an order on the worklist, and whose it is.
type Order struct {
	Study     string
	Accession string
	Person    Person
}

// Knowledge is what is known about a claim.
type Knowledge struct {
	Persons []Person // those who carry the claim's identifier
	Orders  []Order  // those with the claim's study or accession number
	Asked   bool     // the EHR itself was asked for Persons just now
}

// Verdict is what came out.
type Verdict int

// The verdicts.
const (
	Match    Verdict = iota + 1 // exactly this patient
	Mismatch                    // what is known contradicts the claim, or more than one fits
	Unknown                     // nobody is known under that identifier, says the EHR
	Unasked                     // nobody is known here and the EHR could not be asked
	Nobody                      // the claim names no patient
)

func (v Verdict) String() string {
	return [...]string{"", "match", "mismatch", "unknown", "unasked", "nobody"}[v]
}

// Reason is the kind of a verdict other than Match. It names no one.
type Reason string

// The reasons.
const (
	NameDiffers    Reason = "name-differs"
	NameSwapped    Reason = "name-swapped"
	BirthDiffers   Reason = "birth-date-differs"
	OnlyIdentifier Reason = "only-identifier"
	Ambiguous      Reason = "ambiguous"
	OtherThanOrder Reason = "other-than-order"
	OtherThanRef   Reason = "other-than-reference"
	NoSuchPatient  Reason = "no-such-patient"
	EHROutOfReach  Reason = "ehr-out-of-reach"
	NoIdentifier   Reason = "no-identifier"
)

// Result is a verdict with its reason; Ref is the patient of a Match.
type Result struct {
	Verdict Verdict
	Reason  Reason
	Ref     string
}

// Judge judges a claim.
//
// The order decides first: an item that carries the study or the accession number
// of an order is of the order's patient, or something is wrong. Then the
// identifier: one patient who carries it must agree in name or birth date and
// differ in neither; of several exactly one must agree in both.
func Judge(c Claim, k Knowledge) Result {
	if len(k.Orders) > 0 {
		return byOrder(c, k.Orders)
	}
	switch {
	case c.ID == "" && c.Ref == "":
		return Result{Verdict: Nobody, Reason: NoIdentifier}
	case len(k.Persons) == 0 && k.Asked:
		return Result{Verdict: Unknown, Reason: NoSuchPatient}
	case len(k.Persons) == 0:
		return Result{Verdict: Unasked, Reason: EHROutOfReach}
	case c.Ref != "":
		return byRef(c, k.Persons)
	}
	persons := issued(c.Issuer, c.ID, k.Persons)
	if len(persons) > 1 {
		return oneOf(c, persons)
	}
	agree, reason := compare(c, persons[0])
	switch {
	case reason != "":
		return Result{Verdict: Mismatch, Reason: reason}
	case agree == 0:
		return Result{Verdict: Mismatch, Reason: OnlyIdentifier}
	}
	return Result{Verdict: Match, Ref: persons[0].Ref}
}

// byRef holds a claim that names its patient by reference, as a program does that
// has the record before it, against that patient. A number beside the reference
// must be the patient's.
func byRef(c Claim, persons []Person) Result {
	if len(persons) != 1 || persons[0].Ref != c.Ref || c.ID != "" && !carries(persons[0], c.ID) {
		return Result{Verdict: Mismatch, Reason: OtherThanRef}
	}
	if _, reason := compare(c, persons[0]); reason != "" {
		return Result{Verdict: Mismatch, Reason: reason}
	}
	return Result{Verdict: Match, Ref: c.Ref}
}

// byOrder holds a claim against the patient of the orders it names. An identifier
// that the claim has must be the patient's.
func byOrder(c Claim, orders []Order) Result {
	p := orders[0].Person
	for _, o := range orders[1:] {
		if o.Person.Ref != p.Ref {
			return Result{Verdict: Mismatch, Reason: Ambiguous}
		}
	}
	if c.ID != "" && !carries(p, c.ID) {
		return Result{Verdict: Mismatch, Reason: OtherThanOrder}
	}
	if _, reason := compare(c, p); reason != "" {
		return Result{Verdict: Mismatch, Reason: reason}
	}
	return Result{Verdict: Match, Ref: p.Ref}
}

// oneOf finds the one of several carriers of an identifier that agrees in name and
// birth date, if each of the others differs.
func oneOf(c Claim, persons []Person) Result {
	found := ""
	for _, p := range persons {
		agree, reason := compare(c, p)
		switch {
		case reason != "":
		case agree < 2 || found != "":
			return Result{Verdict: Mismatch, Reason: Ambiguous}
		default:
			found = p.Ref
		}
	}
	if found == "" {
		return Result{Verdict: Mismatch, Reason: Ambiguous}
	}
	return Result{Verdict: Match, Ref: found}
}

// issued narrows carriers of an identifier to those who carry it from the named
// issuer. An issuer that no system is called like says nothing: devices and EHRs
// name the same authority differently.
func issued(issuer, id string, persons []Person) []Person {
	if issuer == "" {
		return persons
	}
	narrow := slices.DeleteFunc(slices.Clone(persons), func(p Person) bool {
		return !slices.ContainsFunc(p.Numbers, func(n Number) bool { return sameID(n.Value, id) && strings.EqualFold(n.System, issuer) })
	})
	if len(narrow) == 0 {
		return persons
	}
	return narrow
}

func carries(p Person, id string) bool {
	return slices.ContainsFunc(p.Numbers, func(n Number) bool { return sameID(n.Value, id) })
}

// sameID compares identifiers as they are: a leading zero or another letter case
// is another number until somebody says otherwise.
func sameID(a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) }

// compare counts in how many of name and birth date a claim agrees with a person,
// or says in which it differs.
func compare(c Claim, p Person) (agree int, differs Reason) {
	switch names(c.Name, p.Names) {
	case nameDiffers:
		return 0, NameDiffers
	case nameSwapped:
		return 0, NameSwapped
	case nameSame:
		agree++
	}
	switch births(c.Birth, p.Birth) {
	case birthDiffers:
		return 0, BirthDiffers
	case birthSame:
		agree++
	}
	return agree, ""
}

type birth int

const (
	birthOpen birth = iota // one of them says nothing, or not exactly
	birthSame
	birthDiffers
)

// births compares YYYYMMDD with a FHIR date. A FHIR date of a year or month alone
// can contradict and can't confirm.
func births(claim, known string) birth {
	known = strings.ReplaceAll(known, "-", "")
	switch {
	case len(claim) != 8 || strings.Trim(claim, "0123456789") != "" || claim == "00000000" || known == "":
		return birthOpen
	case !strings.HasPrefix(claim, known):
		return birthDiffers
	case len(known) < 8:
		return birthOpen
	}
	return birthSame
}
