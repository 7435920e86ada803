package grant

import (
	"slices"

	"clinicgate/firmware/wire"
)

// Purposes of use (HL7 v3 ActReason), for the trace.
const (
	Treatment  = "TREAT"
	BreakGlass = "BTG"
	OwnRequest = "PATRQT"
	Office     = "HOPERAT"
)

// Grades of what is known about revoked cards, as wire has them.
const (
	restricted = wire.GradeRestricted // nothing is written but in an emergency
	emergency  = wire.GradeEmergency  // nor read
)

// An Owner is the patient whose record something is.
type Owner struct {
	None   bool     // nobody's: a hospital's address
	Type   string   // of the resource
	Names  []string // pseudonyms of the patient's id and numbers
	Unsure bool     // not all numbers could be found out
}

// Name is what a patient with that number or id is called, empty without the key.
func (g Grant) Name(number string) string {
	if g.roster == nil || g.roster.names == nil {
		return ""
	}
	return wire.Pseudonym(g.roster.names, number)
}

// NeedsOwner says whether it matters whose record it is.
func (g Grant) NeedsOwner() bool {
	r := g.roster
	switch {
	case r == nil:
		return false
	case g.Role == wire.RolePatient, g.op.Writes(), r.lost:
		return true
	case g.Role != wire.RoleDoctor:
		return len(r.consents) > 0
	}
	return r.strict || r.grade == emergency || len(r.consents) > 0 || g.inEmergency()
}

// inEmergency reports an emergency of this session, for any patient: then each
// access may be part of it.
func (g Grant) inEmergency() bool {
	return slices.ContainsFunc(g.roster.care[g.Session], func(c wire.Care) bool { return c.Basis == wire.CareEmergency })
}

// Purpose is what an access is for when it does not matter whose record it is.
func (g Grant) Purpose() string {
	if g.Role == wire.RoleStaff {
		return Office
	}
	return Treatment
}

// Over says whether the grant covers that patient's record, and what for. The
// error is a *Refusal.
func (g Grant) Over(o Owner) (purpose string, err error) {
	if g.roster == nil {
		return "", refuse(NoRoster)
	}
	if g.Role == wire.RolePatient {
		return OwnRequest, g.own(o)
	}
	if o.None {
		if g.op.Writes() {
			return "", refuse(NoCare)
		}
		return g.Purpose(), nil
	}
	cares, breaks := g.care(o)
	if breaks { // whatever stands against it, this is what the glass was broken for
		return BreakGlass, nil
	}
	if err := g.narrowed(o); err != nil {
		return "", err
	}
	r := g.roster
	switch {
	case r.lost && (g.op.Writes() || !cares):
		return "", refuse(ConsentsLost)
	case r.grade == emergency, r.grade == restricted && g.op.Writes():
		return "", refuse(StaleTrust)
	case !cares && (g.op.Writes() || r.strict && g.Role == wire.RoleDoctor):
		return "", refuse(NoCare)
	}
	return g.Purpose(), nil
}

// own holds a patient to the own record and to what it refers to.
func (g Grant) own(o Owner) error {
	switch {
	case o.None && slices.Contains(public[:], o.Type):
		return nil
	case !o.None && g.patient != "" && slices.Contains(o.Names, g.patient):
		return nil
	}
	return refuse(OtherPatient)
}

// care reports the session's care for that patient, and whether an emergency was
// declared for it.
func (g Grant) care(o Owner) (any, breaks bool) {
	for _, c := range g.roster.care[g.Session] {
		if slices.Contains(o.Names, c.Patient) {
			any = true
			breaks = breaks || c.Basis == wire.CareEmergency
		}
	}
	return any, breaks
}

// narrowed holds professionals to what the patient said. The patient's card being
// here says nothing else: what was said with the PIN holds until it is taken back.
func (g Grant) narrowed(o Owner) error {
	for _, name := range o.Names {
		c, said := g.roster.consents[name]
		if said && slices.Contains(c.Who, g.Subject) != c.Only {
			return refuse(Narrowed)
		}
		if said {
			return nil
		}
	}
	if o.Unsure && len(g.roster.consents) > 0 {
		return refuse(Unsure)
	}
	return nil
}
