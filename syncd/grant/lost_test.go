package grant

import (
	"errors"
	"testing"

	"clinicgate/firmware/wire"
)

// While nobody knows what patients said, a record is closed to professionals but
// for the patient's card or an emergency; patients see their own.
func TestConsentsLost(t *testing.T) {
	lost := func(c *wire.Card) {
		c.ConsentsLost = true
		c.Care = append(c.Care, wire.Care{ID: "c-2", Session: "d", Patient: called("1002"), Basis: wire.CareEmergency})
	}
	r := ward(t, lost)
	for _, c := range []struct {
		sid, patient string
		op           Op
		want         Reason
	}{
		{"d", "1003", Read, ConsentsLost}, {"d", "1003", Search, ConsentsLost}, {"d", "1003", Update, ConsentsLost},
		{"d", "1001", Read, ""}, {"d", "1001", Update, ConsentsLost},
		{"d", "1002", Read, ""}, {"d", "1002", Update, ""},
		{"r", "1001", Read, ConsentsLost}, {"p", "1001", Read, ""}, {"p", "1002", Read, OtherPatient},
	} {
		g := as(r, c.sid, c.op)
		if !g.NeedsOwner() {
			t.Errorf("%s: nobody asks whose it is", c.sid)
		}
		_, err := g.Over(Owner{Type: "Observation", Names: []string{called(c.patient)}})
		var no *Refusal
		if errors.As(err, &no); (err == nil) != (c.want == "") || no != nil && no.Reason != c.want {
			t.Errorf("%s %c of %s: %v, want %q", c.sid, c.op, c.patient, err, c.want)
		}
	}
}
