package dimse

import (
	"errors"
	"fmt"

	"clinicgate/syncd/ingest"
)

// Status is a DIMSE status, (0000,0900).
type Status uint16

// The statuses sent (PS3.4 §B.2.3, PS3.7 annex C).
const (
	Success             Status = 0x0000
	statusPending       Status = 0xFF00 // one of several answers
	statusNotUnderstood Status = 0xC000 // of a C-FIND: unable to process
	statusProcessing    Status = 0x0110 // processing failure: ours, send again
	statusNoInstance    Status = 0x0112 // no such SOP instance
	statusBadArgument   Status = 0x0115 // invalid argument value
	statusNoAction      Status = 0x0123 // no such action type
	statusBadInstance   Status = 0x0117 // invalid SOP instance
	statusNoClass       Status = 0x0122 // SOP class not supported
	statusUnrecognized  Status = 0x0211 // unrecognised operation
	statusMistyped      Status = 0x0212 // mistyped argument
	statusFull          Status = 0xA700 // out of resources: the sender tries again
	statusMismatch      Status = 0xA900 // data set does not match
	statusMalformed     Status = 0xC000 // cannot understand
	statusConflict      Status = 0xC001 // cannot understand; ours: the UID came before with other content
	statusUnsupported   Status = 0xC002 // cannot understand; ours: not taken here
)

func (s Status) String() string { return fmt.Sprintf("%04X", uint16(s)) }

// statusError is a refusal of the message layer itself.
type statusError struct {
	status Status
	what   string
}

func (e *statusError) Error() string { return e.what }

// statusOf says a door's answer in DICOM's terms: status and error comment.
func statusOf(err error) (Status, string) {
	var own *statusError
	var refusal *ingest.Refusal
	switch {
	case err == nil:
		return Success, ""
	case errors.As(err, &own):
		return own.status, own.what
	case !errors.As(err, &refusal):
		return statusProcessing, "could not be kept"
	}
	switch refusal.Reason {
	case ingest.Malformed:
		return statusMalformed, refusal.What
	case ingest.Mismatch:
		return statusMismatch, refusal.What
	case ingest.Unsupported:
		return statusUnsupported, refusal.What
	case ingest.Conflict:
		return statusConflict, refusal.What
	case ingest.Full:
		return statusFull, refusal.What
	}
	return statusProcessing, refusal.What
}
