package wire

import "time"

// Card is cardauth.json: readers, live sessions and the keys their tokens are
// signed with. It is readable by the clinicgate group only.
type Card struct {
	Header
	Readers  []Reader  `json:"readers"`
	Sessions []Session `json:"sessions"`
	Keys     JWKS      `json:"keys"`
	KeyBy    string    `json:"key_by,omitempty"` // what holds the one that signs: "tpm" or "software: REASON"
	Care     []Care    `json:"care,omitempty"`
	Consents []Consent `json:"consents,omitempty"`
	// ConsentsLost says that it can't be read what patients said: anybody may have
	// narrowed anything.
	ConsentsLost bool  `json:"consents_lost,omitempty"`
	Trust        Trust `json:"trust"`
	// ReadsNeedCare is the site's rule that a doctor reads only what may also
	// be written.
	ReadsNeedCare bool `json:"reads_need_care,omitempty"`
	// LeaseMS is the time since boot (CLOCK_BOOTTIME) until which this file
	// holds; 0 for no limit. A program that hangs can't end its sessions.
	LeaseMS int64 `json:"lease_ms,omitempty"`
	Apps    *Apps `json:"apps,omitempty"` // nil: none log in here
}

// Grades of what is known about revoked cards. Each allows what those below it
// allow, and no grade keeps a patient from the own record.
const (
	GradeUnchecked  = "unchecked"  // the site checks no lists
	GradeFresh      = "fresh"      // every list is in date
	GradeStale      = "stale"      // out of date, but not long: all is allowed and marked
	GradeRestricted = "restricted" // reading, and writing in an emergency
	GradeEmergency  = "emergency"  // nothing but emergencies
)

// Trust is how well cardauth knows which cards are to be trusted.
type Trust struct {
	Grade    string     `json:"grade,omitempty"`
	Until    *time.Time `json:"until,omitempty"`   // when the oldest list goes, or went, out of date
	Hotlist  int64      `json:"hotlist,omitempty"` // serial of the list of cards to end at once
	Clock    string     `json:"clock,omitempty"`   // "good", or "suspect": it says less than is known to have passed
	ClockBy  string     `json:"clock_by,omitempty"`
	Distrust int        `json:"revoked,omitempty"` // cards known to be revoked
}

// Bases of care.
const (
	CarePresent   = "present"   // the patient's card is in
	CareWindow    = "window"    // it was, not long ago
	CareEmergency = "emergency" // the doctor broke the glass
)

// Care is a doctor's care for a patient: without it no record of that patient is
// written, and a patient who narrowed who may see it is not shown to others.
type Care struct {
	ID      string     `json:"id"`
	Session string     `json:"sid"`     // of the doctor
	Patient string     `json:"patient"` // Pseudonym
	Basis   string     `json:"basis"`
	Since   time.Time  `json:"since"`
	Until   *time.Time `json:"until,omitempty"` // none while the patient's card is in
}

// Consent is what a patient said about who sees the record, as far as it must be
// known to hold it.
type Consent struct {
	Patient string   `json:"patient"` // Pseudonym
	Only    bool     `json:"only"`    // these and nobody else; otherwise all but these
	Who     []string `json:"who"`     // FHIR references of professionals
}

// Reader states.
const (
	ReaderEmpty   = "empty"
	ReaderCard    = "card"    // a card is in, no session yet
	ReaderSession = "session" // a card is in and a session is live
	ReaderFault   = "fault"
)

// Reader is one card reader.
type Reader struct {
	Name  string    `json:"name"` // as PC/SC names it
	Room  string    `json:"room"`
	State string    `json:"state"`
	Since time.Time `json:"since"`
}

// Roles a card's certificate and the roster can give.
const (
	RoleDoctor  = "doctor"
	RoleNurse   = "nurse"
	RolePatient = "patient"
	RoleStaff   = "staff" // reception and administration
)

// Session is a live card. A token whose sid is not in this list is dead, whatever
// its expiry says.
type Session struct {
	ID       string    `json:"sid"`
	Role     string    `json:"role"`
	Subject  string    `json:"sub"`               // FHIR reference for staff ("Practitioner/…"); for patients an opaque id
	Patient  string    `json:"patient,omitempty"` // Pseudonym, of a patient's session
	PIN      bool      `json:"pin"`               // the holder showed the PIN; else the card is only present
	Room     string    `json:"room"`
	Since    time.Time `json:"since"`
	Presence time.Time `json:"presence"`      // when the card's key last proved itself
	CertHash string    `json:"x5t#S256"`      // workstation certificate the tokens are bound to (RFC 8705)
	Keys     []string  `json:"cnf,omitempty"` // what else tokens of this session are bound to
}

// What an entry of Session.Keys begins with.
const (
	BoundKey  = "jkt:"  // thumbprint of a browser program's key (RFC 9449)
	BoundAddr = "addr:" // address of a workstation
)

// Apps is where programs in a browser log in (SMART App Launch).
type Apps struct {
	Base    string   `json:"base"`    // of cardauth's endpoints, "https://host:port"
	Origins []string `json:"origins"` // of the programs that are registered
}

// JWKS is a JSON Web Key Set (RFC 7517) of P-256 public keys.
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is one P-256 public key.
type JWK struct {
	Kty string `json:"kty"` // "EC"
	Crv string `json:"crv"` // "P-256"
	Alg string `json:"alg"` // "ES256"
	Use string `json:"use"` // "sig"
	Kid string `json:"kid"`
	X   string `json:"x"` // base64url, 32 bytes
	Y   string `json:"y"`
}
