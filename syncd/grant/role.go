package grant

import (
	"slices"

	"clinicgate/firmware/wire"
)

// office are the types the reception works with.
var office = [...]string{"Appointment", "AppointmentResponse", "Coverage", "Patient", "Schedule", "Slot"}

// public are types that are no patient's, which a patient's own record refers to.
var public = [...]string{"Location", "Medication", "Organization", "Practitioner", "PractitionerRole"}

// may says what a role can do at all, before it is asked whose record it is. Only
// a doctor changes one, and nurses see none: what they hand in needs no right to
// read.
func may(role string, op Op, typ string) bool {
	switch role {
	case wire.RoleDoctor:
		return true
	case wire.RoleStaff:
		return !op.Writes() && slices.Contains(office[:], typ)
	case wire.RolePatient:
		return !op.Writes()
	}
	return false
}
