// Package pinpad is what PC and reader say to each other about a PIN typed at the
// reader itself (PC/SC part 10): which features a reader has, and the structure by
// which it is told where in a command the PIN goes.
package pinpad

import (
	"encoding/binary"
	"errors"
	"fmt"

	"clinicgate/cardauth/pin"
)

// Verify is the feature FEATURE_VERIFY_PIN_DIRECT (part 10 §2.2).
const Verify = 0x06

// ErrFeatures is a reader that describes its features against the standard.
var ErrFeatures = errors.New("malformed list of reader features")

// Feature looks for a feature in the reader's answer to GET_FEATURE_REQUEST: one
// tag, the length 4 and a control code each. Zero means that the reader lacks it.
func Feature(list []byte, tag byte) (code uint32, err error) {
	for len(list) > 0 {
		if len(list) < 6 || list[1] != 4 {
			return 0, fmt.Errorf("%w: got %X", ErrFeatures, list[:min(len(list), 6)])
		}
		if list[0] == tag {
			return binary.BigEndian.Uint32(list[2:]), nil
		}
		list = list[6:]
	}
	return 0, nil
}

// How a PIN is typed and where it goes, in PIN_VERIFY_STRUCTURE's words (part 10
// §2.5.2).
const (
	timeout  = 30   // seconds for the first key, and for each after it
	ascii    = 0x82 // system units bytes, PIN at the start of the data, left-justified, ASCII
	noLength = 0x00 // the PIN's length is not in the command
	onOK     = 0x02 // the entry ends with the OK key
	english  = 0x0409
)

// ErrCommand is a command that no PIN can be put into.
var ErrCommand = errors.New("not a command for a PIN")

// VerifyStructure is what a reader needs to have a PIN typed and put into cmd, a
// short VERIFY whose data are the fill bytes around it.
func VerifyStructure(cmd []byte) ([]byte, error) {
	if len(cmd) < 6 || cmd[1] != 0x20 || int(cmd[4]) != len(cmd)-5 || len(cmd)-5 < pin.Longest || len(cmd)-5 > 15 {
		return nil, fmt.Errorf("%w: got %d bytes", ErrCommand, len(cmd))
	}
	out := []byte{
		timeout, timeout, ascii,
		cmd[4], // bmPINBlockString: the block's size, no length in it
		noLength,
		pin.Longest, pin.Shortest, // wPINMaxExtraDigit, little endian: min, max
		onOK,
		1,                               // one message, the reader's own
		english & 0xFF, english >> 8, 0, // its language and number
		0, 0, 0, // bTeoPrologue, T=1 readers fill it in
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(cmd)))
	return append(out, cmd...), nil
}
