package grant

// Reason is why a request is refused; stable, for logs, traces and tests.
type Reason string

// The reasons.
const (
	NoToken      Reason = "no-token"
	Malformed    Reason = "malformed-token"
	Signature    Reason = "bad-signature"
	UnknownKey   Reason = "unknown-key"
	Claims       Reason = "bad-claims"
	Expired      Reason = "expired"
	OtherService Reason = "other-service" // issuer or audience
	OtherDevice  Reason = "other-device"  // not the certificate the token is bound to
	NoRoster     Reason = "no-sessions-known"
	NoSession    Reason = "session-over"
	OtherSession Reason = "other-session" // the session lives, the token says something else of it
	Role         Reason = "role"
	Scope        Reason = "scope"
	OtherPatient Reason = "other-patient" // a patient's own record only
	NoCare       Reason = "no-care"       // neither the patient's card nor an emergency
	Narrowed     Reason = "consent"       // the patient said that this professional may not
	Unsure       Reason = "owner-unknown" // it can't be told now whose it is
	ConsentsLost Reason = "consents-lost" // what patients said can't be read
	StaleTrust   Reason = "stale-trust"   // revoked cards are not known well enough any more
)

// Refusal is Decide's error.
type Refusal struct{ Reason Reason }

func refuse(r Reason) *Refusal { return &Refusal{r} }

// Error is what the person at the workstation reads: what is wrong and what to
// do. It names nobody.
func (r *Refusal) Error() string {
	switch r.Reason {
	case NoToken:
		return "no one is logged in: put the card into the reader and log in"
	case NoRoster:
		return "the card service is not answering, so nobody can be let in: wait a moment, then call support"
	case NoSession:
		return "the session is over: put the card into the reader and log in again"
	case Expired:
		return "the login has run out: the program must renew it, or log in again"
	case OtherDevice, OtherSession:
		return "this login belongs to another session or workstation: log in here"
	case Role:
		return "this card's role may not see records here"
	case Scope:
		return "this login does not cover these records"
	case OtherPatient:
		return "this is not your own record"
	case NoCare:
		return "the patient's card is not here: put it into the room's second reader, or declare an emergency"
	case Narrowed:
		return "the patient has chosen that you may not see this; in an emergency say so, and the patient will be told"
	case Unsure:
		return "whose record this is can't be told now, and this patient or another has narrowed who may see it: declare an emergency if it is one"
	case ConsentsLost:
		return "it can't be read now who may see what: have the patient's card put in, declare an emergency if it is one, and call support"
	case StaleTrust:
		return "the list of revoked cards is too old for this: declare an emergency if it is one, and have support bring a new list"
	}
	return "the login is not valid: log in again"
}

// Known reports that the person is known and logged in, and may not: 403. All
// else is 401.
func (r *Refusal) Known() bool {
	switch r.Reason {
	case Role, Scope, OtherPatient, NoCare, Narrowed, Unsure, ConsentsLost, StaleTrust:
		return true
	}
	return false
}
