// Package apdu is the language of smartcards, ISO/IEC 7816-4: commands and
// responses, their encodings, and the exchange of one command for one whole
// answer however the card cuts it up. It trusts nothing a card says.
package apdu

import (
	"errors"
	"fmt"
)

// A Command is one command APDU.
type Command struct {
	Class, Ins, P1, P2 byte
	Data               []byte
	Ne                 int // largest answer wanted, in bytes; 0 for none, at most 65536
}

// Largest values of the short and the extended encoding (ISO/IEC 7816-3 §12.1.3).
const (
	maxShortData    = 255
	maxShortNe      = 256
	maxExtendedData = 65535
	maxExtendedNe   = 65536
)

// ErrTooLong is returned for a command no encoding has room for.
var ErrTooLong = errors.New("command does not fit an APDU")

// Encode returns the command's bytes: short form where it fits, else extended.
// When Data holds a PIN the caller wipes the result.
func (c Command) Encode() ([]byte, error) {
	nc := len(c.Data)
	if nc > maxExtendedData || c.Ne < 0 || c.Ne > maxExtendedNe {
		return nil, fmt.Errorf("%w: %d bytes of data, %d wanted", ErrTooLong, nc, c.Ne)
	}
	// One allocation of the final size: growing would leave copies of a PIN.
	out := make([]byte, 0, 4+3+nc+2)
	out = append(out, c.Class, c.Ins, c.P1, c.P2)
	if nc <= maxShortData && c.Ne <= maxShortNe {
		if nc > 0 { // cases 3 and 4
			out = append(out, byte(nc))
			out = append(out, c.Data...)
		}
		if c.Ne > 0 { // cases 2 and 4; 256 is written 00
			out = append(out, byte(c.Ne))
		}
		return out, nil
	}
	out = append(out, 0)
	if nc > 0 {
		out = append(out, byte(nc>>8), byte(nc))
		out = append(out, c.Data...)
	}
	if c.Ne > 0 { // 65536 is written 0000
		out = append(out, byte(c.Ne>>8), byte(c.Ne))
	}
	return out, nil
}

// A Response is one whole answer.
type Response struct {
	Data   []byte
	Status Status
}

// ErrNoStatus is returned for an answer too short to have a status word.
var ErrNoStatus = errors.New("answer without a status word")

// Parse splits a response APDU.
func Parse(raw []byte) (Response, error) {
	n := len(raw) - 2
	if n < 0 {
		return Response{}, fmt.Errorf("%w: got %d bytes, want at least 2", ErrNoStatus, len(raw))
	}
	return Response{raw[:n:n], Status(raw[n])<<8 | Status(raw[n+1])}, nil
}
