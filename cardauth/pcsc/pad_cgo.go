//go:build cgo || windows

package pcsc

import (
	"errors"
	"fmt"
	"runtime"

	"clinicgate/cardauth/pinpad"
)

// getFeatures is GET_FEATURE_REQUEST (PC/SC part 10 §2.2), as the platform writes
// control codes.
func getFeatures() uint32 {
	const function = 3400
	if runtime.GOOS == "windows" {
		return 0x31<<16 | function<<2
	}
	return 0x42000000 + function
}

// HasPad reports whether the reader has keys of its own for a PIN.
func (c *Card) HasPad() bool {
	_, err := c.pad()
	return err == nil
}

// errNoPad is a reader without keys of its own.
var errNoPad = errors.New("the reader has no PIN pad")

// pad asks the reader for the control code that has a PIN typed.
func (c *Card) pad() (uint32, error) {
	list, err := c.card.Control(getFeatures(), nil)
	if err != nil {
		return 0, errNoPad // how readers without features answer
	}
	code, err := pinpad.Feature(list, pinpad.Verify)
	if err == nil && code == 0 {
		err = errNoPad
	}
	return code, err
}

// VerifyOnPad has the reader ask for a PIN, put it into the command and send it.
// An error means that the card is lost, as with Transmit.
func (c *Card) VerifyOnPad(cmd []byte) ([]byte, error) {
	code, err := c.pad()
	if err != nil {
		return nil, err
	}
	how, err := pinpad.VerifyStructure(cmd)
	if err != nil {
		return nil, err
	}
	answer, err := c.card.Control(code, how)
	if err != nil {
		c.broken = true
		return nil, fmt.Errorf("verify at the reader: %w", explain("control", err))
	}
	return answer, nil
}
