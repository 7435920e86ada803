package upstream

import (
	"errors"
	"fmt"
)

// Errors a caller answers differently. None quotes a body or an id.
var (
	// ErrUnreachable is no answer: no path, no connection, no time, or an EHR
	// that says it can't now (5xx, 429). What is stored may be shown.
	ErrUnreachable = errors.New("EHR unreachable")
	// ErrNonsense is an answer that is not what was asked for. It is never kept.
	ErrNonsense = errors.New("EHR answers nonsense")
	// ErrForeign is nonsense of the worst kind: another resource than the one
	// asked for, or another patient's.
	ErrForeign = fmt.Errorf("%w: what was not asked for", ErrNonsense)
)

// A Refusal is the EHR's own no: a status of 4xx with an OperationOutcome.
type Refusal struct {
	Status int
	Body   []byte // the OperationOutcome, as it came
}

// Error tells the status and nothing of the body.
func (r *Refusal) Error() string { return fmt.Sprintf("EHR refuses: status %d", r.Status) }
