package frame

import (
	"bytes"
	"fmt"
	"slices"
)

// Applications a gateway may choose: PIV (SP 800-73-5 part 1 §2.2), whole or cut,
// and PKCS #15 (ISO/IEC 7816-15 §7.4).
var (
	aidPIV    = []byte{0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}
	aidPKCS15 = []byte{0xA0, 0, 0, 0, 0x63, 'P', 'K', 'C', 'S', '-', '1', '5'}
)

// objects of a PIV card that a gateway may read (SP 800-73-5 part 1, table 3):
// those that say who the card is. Face, fingerprints and the printed text are
// nobody's business here, though a card with its PIN shown would give them.
var objects = [][]byte{
	{0x5F, 0xC1, 0x02}, // CHUID
	{0x5F, 0xC1, 0x07}, // capabilities
	{0x5F, 0xC1, 0x05}, // certificates of 9A, 9C, 9E
	{0x5F, 0xC1, 0x0A},
	{0x5F, 0xC1, 0x01},
	{0x5F, 0xC1, 0x06}, // security object
	{0x7E},             // discovery
}

// Allowed says why a command must not reach a card on a gateway's word; nil: it
// may. What is here reads who the card is and how many PIN tries are left. Nothing
// that spends a try, changes a card or signs is. Files of a PKCS #15 card are open
// to reading only while no PIN is shown: then the card gives nothing private.
func Allowed(cmd []byte, pinShown bool) error {
	if len(cmd) < 4 || len(cmd) > 4+1+255+1 {
		return fmt.Errorf("command of %d bytes, want 4 to 261", len(cmd))
	}
	if cmd[0] != 0 {
		return fmt.Errorf("class %02X, want 00", cmd[0])
	}
	data, whole := body(cmd[4:])
	if !whole {
		return fmt.Errorf("command %02X whose length is not what it says", cmd[1])
	}
	switch [3]byte(cmd[1:4]) {
	case [3]byte{0xA4, 4, 0}, [3]byte{0xA4, 4, 0x0C}:
		if len(data) >= 5 && (bytes.HasPrefix(aidPIV, data) || bytes.HasPrefix(aidPKCS15, data)) {
			return nil
		}
		return fmt.Errorf("choosing application %X", data)
	case [3]byte{0xCB, 0x3F, 0xFF}:
		if len(data) > 2 && data[0] == 0x5C && int(data[1]) == len(data)-2 && slices.ContainsFunc(objects, func(o []byte) bool { return bytes.Equal(o, data[2:]) }) {
			return nil
		}
		return fmt.Errorf("reading object %X", data)
	case [3]byte{0xC0, 0, 0}: // GET RESPONSE
		if len(data) == 0 {
			return nil
		}
	}
	switch cmd[1] {
	case 0x20: // VERIFY without data asks for the tries, or forgets
		if len(cmd) == 4 && (cmd[2] == 0 || cmd[2] == 0xFF) {
			return nil
		}
		return fmt.Errorf("showing a PIN")
	case 0xA4: // SELECT of a file by its identifier or path
		if slices.Contains([]byte{0, 8, 9}, cmd[2]) && slices.Contains([]byte{0, 4, 0x0C}, cmd[3]) && len(data)%2 == 0 && len(data) <= 16 {
			return closed(pinShown)
		}
	case 0xB0: // READ BINARY of the chosen file
		if len(data) == 0 && cmd[2] < 0x80 {
			return closed(pinShown)
		}
	}
	return fmt.Errorf("command %X", cmd[:4])
}

func closed(pinShown bool) error {
	if pinShown {
		return fmt.Errorf("reading files while a PIN is shown")
	}
	return nil
}

// body splits what follows a short command's header: nothing, Le, Lc and data, or
// both (ISO/IEC 7816-3 §12.1.3).
func body(rest []byte) (data []byte, whole bool) {
	switch {
	case len(rest) < 2:
		return nil, true
	case rest[0] == 0:
		return nil, false // extended: not spoken here
	}
	n := int(rest[0])
	rest = rest[1:]
	return rest[:min(n, len(rest))], len(rest) == n || len(rest) == n+1
}
