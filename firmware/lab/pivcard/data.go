package pivcard

import "bytes"

// aid is the PIV application's full identifier with version 1.0 (SP 800-73-5
// part 1 §2.2).
var aid = [...]byte{0xA0, 0, 0, 3, 8, 0, 0, 0x10, 0, 1, 0}

// certificateTag is where a slot's certificate lies (SP 800-73-5 part 1, table 3).
var certificateTag = map[byte]uint32{0x9A: 0x5FC105, 0x9C: 0x5FC10A, 0x9D: 0x5FC10B, 0x9E: 0x5FC101}

// doSelect is SELECT by application identifier. Selecting PIV again leaves the
// PIN's state as it was; another application there is not (part 2 §3.1.1).
func (c *Card) doSelect(cmd command) ([]byte, int) {
	if cmd.hdr[2] != 4 || cmd.hdr[3]&^0x0C != 0 {
		return nil, swParameters
	}
	n := len(cmd.data)
	if c.odd.ShortAID && n > 9 {
		return nil, swNotFound
	}
	if n < 5 || n > len(aid) || !bytes.Equal(cmd.data, aid[:n]) {
		return nil, swNotFound
	}
	c.selected = true
	if c.odd.BareSelect {
		return nil, swOK
	}
	return tlv(0x61, join(
		tlv(0x4F, aid[5:]),
		tlv(0x79, tlv(0x4F, aid[:5])),
		tlv(0x50, []byte("Test PIV")),
	)), swOK
}

// getData is GET DATA with a tag list of one tag.
func (c *Card) getData(cmd command) ([]byte, int) {
	if cmd.hdr[2] != 0x3F || cmd.hdr[3] != 0xFF {
		return nil, swParameters
	}
	d := cmd.data
	if len(d) < 3 || d[0] != 0x5C || int(d[1]) != len(d)-2 || d[1] > 3 {
		return nil, swData
	}
	var tag uint32
	for _, b := range d[2:] {
		tag = tag<<8 | uint32(b)
	}
	if obj, ok := c.objects[tag]; ok {
		return obj, swOK
	}
	if c.odd.Missing != 0 {
		return nil, c.odd.Missing
	}
	return nil, swNotFound
}

// store puts the objects in that every card has: discovery, CHUID and CCC.
func (c *Card) store() {
	c.objects[0x7E] = tlv(0x7E, join(
		tlv(0x4F, aid[:]),
		tlv(0x5F2F, []byte{0x40, 0}), // PIN usage policy: the application PIN, nothing else
	))
	c.objects[0x5FC102] = tlv(0x53, join( // CHUID
		tlv(0x30, make([]byte, 25)), // FASC-N of a card outside the US government
		tlv(0x34, c.guid[:]),
		tlv(0x35, []byte("20361231")),
		tlv(0x3E, nil),
		tlv(0xFE, nil),
	))
	ccc := join(tlv(0xF0, append([]byte{0xA0, 0, 0, 1, 0x16}, c.guid[:]...)), tlv(0xF1, []byte{0x21}), tlv(0xF2, []byte{0x21}))
	for _, tag := range []uint32{0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE} {
		var v []byte
		if tag == 0xF5 {
			v = []byte{0x10} // data model
		}
		ccc = append(ccc, tlv(tag, v)...)
	}
	c.objects[0x5FC107] = tlv(0x53, ccc)
}

// tlv encodes one BER-TLV object.
func tlv(tag uint32, value []byte) []byte {
	var out []byte
	for shift := 16; shift >= 0; shift -= 8 {
		if b := byte(tag >> shift); b != 0 || len(out) > 0 {
			out = append(out, b)
		}
	}
	switch n := len(value); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, value...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// field takes one object with a one-byte tag and a length below 64 KiB from the
// front of b.
func field(b []byte) (tag byte, value, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	tag, n, b := b[0], int(b[1]), b[2:]
	if n&0x80 != 0 {
		bytesOfLen := n & 0x7F
		if bytesOfLen < 1 || bytesOfLen > 2 || len(b) < bytesOfLen {
			return 0, nil, nil, false
		}
		n = 0
		for _, x := range b[:bytesOfLen] {
			n = n<<8 | int(x)
		}
		b = b[bytesOfLen:]
	}
	if len(b) < n {
		return 0, nil, nil, false
	}
	return tag, b[:n], b[n:], true
}
