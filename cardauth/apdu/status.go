package apdu

import "fmt"

// Status is a status word, SW1 and SW2 (ISO/IEC 7816-4 §5.6).
type Status uint16

// Status words that callers branch on. Anything not known is a failure.
const (
	OK                Status = 0x9000
	NotVerified       Status = 0x6300 // a wrong secret, without a count
	WrongLength       Status = 0x6700
	NoChaining        Status = 0x6884
	NotSatisfied      Status = 0x6982 // security status: show the PIN first
	Blocked           Status = 0x6983 // authentication method blocked
	Invalidated       Status = 0x6984 // reference data not usable: of a PIN, that it is blocked
	ConditionsOfUse   Status = 0x6985
	WrongData         Status = 0x6A80
	NotSupported      Status = 0x6A81
	NotFound          Status = 0x6A82
	WrongParameters   Status = 0x6A86
	ReferenceNotFound Status = 0x6A88
	UnknownIns        Status = 0x6D00
	UnknownClass      Status = 0x6E00
)

// meanings of exact words, in the standard's terms.
var meanings = map[Status]string{
	OK:                "success",
	0x6581:            "memory failure in the card",
	NotVerified:       "verification failed",
	WrongLength:       "wrong length",
	0x6881:            "logical channel not supported",
	0x6882:            "secure messaging not supported",
	0x6883:            "last command of the chain expected",
	NoChaining:        "command chaining not supported",
	NotSatisfied:      "security status not satisfied",
	Blocked:           "authentication method blocked",
	Invalidated:       "reference data not usable",
	ConditionsOfUse:   "conditions of use not satisfied",
	0x6986:            "command not allowed",
	WrongData:         "wrong parameters in the data field",
	NotSupported:      "function not supported",
	NotFound:          "file or application not found",
	0x6A84:            "not enough memory in the card",
	WrongParameters:   "wrong parameters P1-P2",
	ReferenceNotFound: "reference data not found",
	0x6B00:            "wrong parameters P1-P2",
	UnknownIns:        "instruction not supported",
	UnknownClass:      "class not supported",
	0x6F00:            "no precise diagnosis",
}

// Tries returns how many tries a secret has left, and whether the word says so
// (63Cx).
func (s Status) Tries() (int, bool) { return int(s & 0xF), s&0xFFF0 == 0x63C0 }

// String says the word as people look it up and what it means.
func (s Status) String() string {
	what, ok := meanings[s]
	if n, isTries := s.Tries(); isTries {
		what, ok = fmt.Sprintf("%d tries left", n), true
	}
	if !ok {
		what = "unknown status"
		switch s >> 8 {
		case 0x61:
			what = "more data waiting"
		case 0x62, 0x63:
			what = "warning"
		case 0x64, 0x65, 0x66:
			what = "execution error"
		case 0x6C:
			what = "wrong Le"
		}
	}
	return fmt.Sprintf("%04X %s", uint16(s), what)
}

// StatusError is a command that the card answered with anything but success.
type StatusError struct {
	Act    string // "select PIV"
	Status Status
}

// Error says what was tried and what the card said.
func (e *StatusError) Error() string { return e.Act + ": card says " + e.Status.String() }
