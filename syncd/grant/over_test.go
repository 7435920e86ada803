package grant

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

var patientKey = bytes.Repeat([]byte{7}, wire.PatientKeySize)

func called(number string) string { return wire.Pseudonym(patientKey, number) }

// ward is a publication with care of all kinds, for patients ana (card 1001), luis
// (1002) and eva (1003); eva wants to be seen by Practitioner/9 only, luis by
// anyone but Practitioner/1.
func ward(t testing.TB, change func(*wire.Card)) *Roster {
	t.Helper()
	c := &wire.Card{
		Sessions: []wire.Session{
			{ID: "d", Role: wire.RoleDoctor, Subject: "Practitioner/1"},
			{ID: "p", Role: wire.RolePatient, Subject: "patient:x", Patient: called("1001"), PIN: true},
			{ID: "r", Role: wire.RoleStaff, Subject: "Practitioner/3"},
		},
		Care: []wire.Care{{ID: "c-1", Session: "d", Patient: called("1001"), Basis: wire.CarePresent}},
	}
	if change != nil {
		change(c)
	}
	r, err := NewRoster(c)
	if err != nil {
		t.Fatal(err)
	}
	return r.Named(patientKey)
}

func as(r *Roster, sid string, op Op) Grant {
	s := r.sessions[sid]
	return Grant{Session: sid, Subject: s.Subject, Role: s.Role, patient: s.Patient, op: op, roster: r}
}

func TestOver(t *testing.T) {
	of := func(numbers ...string) Owner {
		var o Owner
		for _, n := range numbers {
			o.Names = append(o.Names, called(n))
		}
		return o
	}
	ana, luis, eva := of("pat-1", "1001"), of("pat-2", "1002"), of("pat-3", "1003")
	nobodys := func(typ string) Owner { return Owner{None: true, Type: typ} }
	consents := func(c *wire.Card) {
		c.Consents = []wire.Consent{
			{Patient: called("1002"), Who: []string{"Practitioner/1"}},
			{Patient: called("1003"), Only: true, Who: []string{"Practitioner/9"}},
		}
	}
	breaks := func(number string) func(*wire.Card) {
		return func(c *wire.Card) {
			consents(c)
			c.Care = append(c.Care, wire.Care{ID: "c-2", Session: "d", Patient: called(number), Basis: wire.CareEmergency})
		}
	}
	grade := func(g string, also ...func(*wire.Card)) func(*wire.Card) {
		return func(c *wire.Card) {
			for _, f := range also {
				f(c)
			}
			c.Trust.Grade = g
		}
	}
	strict := func(c *wire.Card) { c.ReadsNeedCare = true }
	presentLuis := func(c *wire.Card) {
		consents(c)
		c.Care[0].Patient = called("1002")
	}
	for name, c := range map[string]struct {
		change  func(*wire.Card)
		sid     string
		op      Op
		owner   Owner
		purpose string
		want    Reason
	}{
		"a doctor reads anyone's":               {nil, "d", Read, luis, Treatment, ""},
		"and a hospital's address":              {nil, "d", Read, nobodys("Organization"), Treatment, ""},
		"writes with the patient's card":        {nil, "d", Update, ana, Treatment, ""},
		"not without":                           {nil, "d", Create, luis, "", NoCare},
		"nor what is no patient's":              {nil, "d", Update, nobodys("Organization"), "", NoCare},
		"reads without care at a strict site":   {strict, "d", Read, luis, "", NoCare},
		"reads with care there":                 {strict, "d", Read, ana, Treatment, ""},
		"all but him":                           {consents, "d", Read, luis, "", Narrowed},
		"only another":                          {consents, "d", Search, eva, "", Narrowed},
		"said nothing":                          {consents, "d", Read, ana, Treatment, ""},
		"the card says nothing else":            {presentLuis, "d", Read, luis, "", Narrowed},
		"breaks the glass to read":              {breaks("1003"), "d", Read, eva, BreakGlass, ""},
		"and to write":                          {breaks("1003"), "d", Update, eva, BreakGlass, ""},
		"for her and nobody else":               {breaks("1003"), "d", Read, luis, "", Narrowed},
		"somebody's, offline":                   {consents, "d", Read, Owner{Names: []string{called("pat-9")}, Unsure: true}, "", Unsure},
		"the same without narrowings":           {nil, "d", Read, Owner{Names: []string{called("pat-9")}, Unsure: true}, Treatment, ""},
		"lists out of date":                     {grade(wire.GradeStale), "d", Update, ana, Treatment, ""},
		"long out of date, reading":             {grade(wire.GradeRestricted), "d", Read, ana, Treatment, ""},
		"long out of date, writing":             {grade(wire.GradeRestricted), "d", Update, ana, "", StaleTrust},
		"long out of date, emergency":           {grade(wire.GradeRestricted, breaks("1001")), "d", Update, ana, BreakGlass, ""},
		"far too old, reading":                  {grade(wire.GradeEmergency), "d", Read, ana, "", StaleTrust},
		"far too old, emergency":                {grade(wire.GradeEmergency, breaks("1001")), "d", Read, ana, BreakGlass, ""},
		"far too old, the patient's own":        {grade(wire.GradeEmergency), "p", Read, ana, OwnRequest, ""},
		"a patient's own":                       {consents, "p", Read, ana, OwnRequest, ""},
		"another's":                             {nil, "p", Read, luis, "", OtherPatient},
		"whose doctor that was":                 {nil, "p", Read, nobodys("Practitioner"), OwnRequest, ""},
		"what may be anyone's":                  {nil, "p", Read, nobodys("Binary"), "", OtherPatient},
		"the reception":                         {nil, "r", Read, luis, Office, ""},
		"the reception, of one who narrowed it": {consents, "r", Read, eva, "", Narrowed},
	} {
		r := ward(t, c.change)
		purpose, err := as(r, c.sid, c.op).Over(c.owner)
		var no *Refusal
		if errors.As(err, &no) != (c.want != "") || c.want != "" && (no.Reason != c.want || !no.Known() || no.Error() == "") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if c.want == "" && purpose != c.purpose {
			t.Errorf("%s: purpose %q, want %q", name, purpose, c.purpose)
		}
		if g := as(r, c.sid, c.op); c.want != "" && !g.NeedsOwner() {
			t.Errorf("%s: the owner was not asked for", name)
		}
	}
	if as(ward(t, nil), "d", Read).NeedsOwner() {
		t.Error("a plain read asks whose it is")
	}
	if _, err := (Grant{Role: wire.RoleDoctor}).Over(ana); err == nil {
		t.Error("a grant of nobody covers something")
	}
}

// Only a doctor changes a record; nurses see none; the reception sees what it
// works with.
func TestRoles(t *testing.T) {
	for _, c := range []struct {
		role string
		op   Op
		typ  string
		want bool
	}{
		{wire.RoleDoctor, Delete, "Observation", true},
		{wire.RoleNurse, Read, "Observation", false},
		{wire.RoleNurse, Create, "Observation", false},
		{wire.RoleStaff, Read, "Patient", true},
		{wire.RoleStaff, Search, "Observation", false},
		{wire.RoleStaff, Update, "Patient", false},
		{wire.RolePatient, Read, "Observation", true},
		{wire.RolePatient, Update, "Patient", false},
		{"janitor", Read, "Patient", false},
		{"", Read, "Patient", false},
	} {
		if got := may(c.role, c.op, c.typ); got != c.want {
			t.Errorf("%s %c %s: %v, want %v", c.role, c.op, c.typ, got, c.want)
		}
	}
}

// Without the key no patient is known by any name, so no patient reads.
func TestNoPatientKey(t *testing.T) {
	r := ward(t, nil).Named(nil)
	if got := as(r, "p", Read).Name("1001"); got != "" {
		t.Errorf("named %q without a key", got)
	}
}

func TestLease(t *testing.T) {
	r := ward(t, func(c *wire.Card) { c.LeaseMS = 5000 })
	if !r.Holds(5*time.Second) || r.Holds(5001*time.Millisecond) {
		t.Error("a lease of 5 s does not end then")
	}
	if !ward(t, nil).Holds(time.Hour) {
		t.Error("without a lease it ended")
	}
}
