package grant

import (
	"time"

	"clinicgate/firmware/wire"
)

// HandIn says whose live session a request is that hands in new records. It must be
// a doctor's; whether it covers the patient, Over says, as for any writing. No scope
// is asked for: what is handed in shows nobody anything.
func HandIn(now time.Time, roster *Roster, issuer string, r Request) (Grant, error) {
	g, _, err := who(now, roster, issuer, r)
	g.op = Create
	if err == nil && g.Role != wire.RoleDoctor {
		err = refuse(Role)
	}
	return g, err
}
