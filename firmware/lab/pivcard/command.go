package pivcard

import (
	"slices"
	"time"
)

// Status words of ISO/IEC 7816-4 and SP 800-73-5 that the card answers with.
const (
	swOK               = 0x9000
	swMore             = 0x6100 // low byte: how much GET RESPONSE has; 0 means 256 or more
	swTries            = 0x63C0 // low nibble: tries left
	swWrongLe          = 0x6C00 // low byte: how much there is
	swLength           = 0x6700
	swLastOfChain      = 0x6883
	swNoChain          = 0x6884
	swSecurity         = 0x6982
	swInvalidated      = 0x6984
	swBlocked          = 0x6983
	swNoCondition      = 0x6985
	swData             = 0x6A80
	swNotFound         = 0x6A82
	swParameters       = 0x6A86
	swReference        = 0x6A88
	swInstruction      = 0x6D00
	swClass            = 0x6E00
	maxChain           = 4 << 10 // bytes of command data a card has room for
	claChain      byte = 0x10
)

// A command is one parsed command APDU.
type command struct {
	hdr  [4]byte // CLA INS P1 P2
	data []byte
	ne   int // largest answer wanted; 0 when Le is absent
}

// parse reads a command APDU: cases 1 to 4, short and extended (ISO/IEC 7816-3
// §12.1.3).
func parse(apdu []byte) (command, bool) {
	var c command
	if len(apdu) < 4 {
		return c, false
	}
	copy(c.hdr[:], apdu)
	body := apdu[4:]
	switch {
	case len(body) == 0:
		return c, true
	case len(body) == 1:
		c.ne = orMax(int(body[0]), 256)
		return c, true
	case body[0] != 0:
		return c.short(body)
	}
	return c.extended(body)
}

func (c command) short(body []byte) (command, bool) {
	n := int(body[0])
	switch rest := body[1:]; {
	case len(rest) == n:
		c.data = rest
	case len(rest) == n+1:
		c.data, c.ne = rest[:n], orMax(int(rest[n]), 256)
	default:
		return c, false
	}
	return c, true
}

func (c command) extended(body []byte) (command, bool) {
	if len(body) < 3 {
		return c, false
	}
	n := int(body[1])<<8 | int(body[2])
	rest := body[3:]
	switch {
	case len(rest) == 0:
		c.ne = orMax(n, 65536)
	case n > 0 && len(rest) == n:
		c.data = rest
	case n > 0 && len(rest) == n+2:
		c.data, c.ne = rest[:n], orMax(int(rest[n])<<8|int(rest[n+1]), 65536)
	default:
		return c, false
	}
	return c, true
}

func orMax(n, most int) int {
	if n == 0 {
		return most
	}
	return n
}

// Transmit gives the card a command APDU and returns its response APDU. It never
// fails: a card that gets nonsense says so in its status word.
func (c *Card) Transmit(apdu []byte) []byte {
	if c.other != nil {
		return c.other.Transmit(apdu)
	}
	resp := c.transmit(apdu)
	time.Sleep(c.pace.took(apdu, resp))
	return resp
}

func (c *Card) transmit(apdu []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	cmd, ok := parse(apdu)
	if !ok {
		return answer(nil, swLength)
	}
	if c.odd.T0Strict && (len(apdu) == 4 || len(cmd.data) > 0 && cmd.ne > 0) {
		return answer(nil, swLength)
	}
	if c.odd.NoChain && cmd.hdr[0]&claChain != 0 {
		return answer(nil, swNoChain)
	}
	if cmd.hdr[0]&^claChain != 0 {
		return answer(nil, swClass)
	}
	if cmd.hdr[1] == 0xC0 { // GET RESPONSE
		if c.odd.T0 && len(c.rest) > 0 && cmd.ne > len(c.rest) {
			return answer(nil, swWrongLe|len(c.rest))
		}
		return c.send(c.rest, swOK, cmd.ne)
	}
	c.rest = nil
	if sw := c.gather(&cmd); sw != 0 {
		return answer(nil, sw)
	}
	data, sw := c.do(cmd)
	if c.odd.T0 {
		cmd.ne = 0 // answers come by GET RESPONSE alone
	}
	return c.send(data, sw, cmd.ne)
}

// gather collects chained commands. It returns 0 when cmd is whole, with all the
// data of the chain; otherwise what to answer.
func (c *Card) gather(cmd *command) int {
	last := cmd.hdr[0]&claChain == 0
	cmd.hdr[0] &^= claChain
	if len(c.chain) > 0 && c.chainHdr != cmd.hdr {
		c.chain = nil
		return swLastOfChain
	}
	if len(c.chain)+len(cmd.data) > maxChain {
		c.chain = nil
		return swLength
	}
	if last {
		cmd.data, c.chain = append(c.chain, cmd.data...), nil
		return 0
	}
	c.chain, c.chainHdr = append(c.chain, cmd.data...), cmd.hdr
	return swOK
}

// send answers with as much of data as was asked for and keeps the rest.
func (c *Card) send(data []byte, sw, ne int) []byte {
	n := min(len(data), ne)
	c.rest = slices.Clone(data[n:])
	if len(c.rest) > 0 {
		sw = swMore
		if len(c.rest) < 256 {
			sw |= len(c.rest)
		}
	}
	return answer(data[:n], sw)
}

func answer(data []byte, sw int) []byte {
	return append(slices.Clone(data), byte(sw>>8), byte(sw))
}

// do carries out one whole command.
func (c *Card) do(cmd command) ([]byte, int) {
	fresh := c.fresh
	c.fresh = false
	ins, p1, p2 := cmd.hdr[1], cmd.hdr[2], cmd.hdr[3]
	if ins == 0xA4 {
		return c.doSelect(cmd)
	}
	if !c.selected {
		return nil, swInstruction
	}
	switch ins {
	case 0xCB:
		return c.getData(cmd)
	case 0x20:
		return nil, c.verify(p1, p2, cmd.data)
	case 0x24:
		return nil, c.change(p1, p2, cmd.data)
	case 0x2C:
		return nil, c.resetRetry(p1, p2, cmd.data)
	case 0x87:
		return c.authenticate(p1, p2, cmd.data, fresh)
	}
	return nil, swInstruction
}
