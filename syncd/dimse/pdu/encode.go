package pdu

import (
	"encoding/binary"
	"strings"
)

// Item types inside the A-ASSOCIATE PDUs.
const (
	itemApplication = 0x10
	itemContextRQ   = 0x20
	itemContextAC   = 0x21
	itemAbstract    = 0x30
	itemTransfer    = 0x40
	itemUser        = 0x50
	itemMaxLength   = 0x51
	itemClassUID    = 0x52
	itemRoles       = 0x54
	itemVersionName = 0x55
)

// Append appends the bytes of p to b. Every PDU that Parse returns goes back to
// bytes that parse to the same PDU.
func Append(b []byte, p PDU) []byte {
	b = append(b, p.kind(), 0, 0, 0, 0, 0)
	at := len(b)
	b = p.body(b)
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at))
	return b
}

func (p *AssociateRQ) body(b []byte) []byte {
	b = appendFront(b, p.Version, p.Called, p.Calling)
	b = appendText(b, itemApplication, p.Application)
	for _, c := range p.Contexts {
		b = appendItem(b, itemContextRQ, func(b []byte) []byte {
			b = append(b, c.ID, 0, 0, 0)
			b = appendText(b, itemAbstract, c.Abstract)
			for _, t := range c.Transfer {
				b = appendText(b, itemTransfer, t)
			}
			return b
		})
	}
	return p.User.append(b)
}

func (p *AssociateAC) body(b []byte) []byte {
	b = appendFront(b, p.Version, p.Called, p.Calling)
	b = appendText(b, itemApplication, p.Application)
	for _, r := range p.Results {
		b = appendItem(b, itemContextAC, func(b []byte) []byte {
			b = append(b, r.ID, 0, r.Reason, 0)
			return appendText(b, itemTransfer, r.Transfer)
		})
	}
	return p.User.append(b)
}

func (p *AssociateRJ) body(b []byte) []byte { return append(b, 0, p.Result, p.Source, p.Reason) }

func (p *Data) body(b []byte) []byte {
	for _, v := range p.PDVs {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v.Value)+2))
		b = append(b, v.Context, v.control())
		b = append(b, v.Value...)
	}
	return b
}

// control is the message control header (annex E.2).
func (v PDV) control() (c byte) {
	if v.Command {
		c |= 1
	}
	if v.Last {
		c |= 2
	}
	return c
}

func (*ReleaseRQ) body(b []byte) []byte { return append(b, 0, 0, 0, 0) }
func (*ReleaseRP) body(b []byte) []byte { return append(b, 0, 0, 0, 0) }
func (p *Abort) body(b []byte) []byte   { return append(b, 0, 0, p.Source, p.Reason) }

func (u User) append(b []byte) []byte {
	return appendItem(b, itemUser, func(b []byte) []byte {
		b = appendItem(b, itemMaxLength, func(b []byte) []byte {
			return binary.BigEndian.AppendUint32(b, u.MaxLength)
		})
		if u.ClassUID != "" {
			b = appendText(b, itemClassUID, u.ClassUID)
		}
		for _, class := range u.Provides {
			b = appendItem(b, itemRoles, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint16(b, uint16(len(class)))
				return append(append(b, class...), 0, 1) // not the user, but the provider
			})
		}
		if u.VersionName != "" {
			b = appendText(b, itemVersionName, u.VersionName)
		}
		return b
	})
}

// appendFront writes the fixed part common to request and acceptance.
func appendFront(b []byte, version uint16, called, calling string) []byte {
	b = binary.BigEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	b = appendTitle(appendTitle(b, called), calling)
	return append(b, make([]byte, 32)...)
}

// appendTitle writes an AE title: 16 characters, padded with spaces.
func appendTitle(b []byte, title string) []byte {
	title = title[:min(len(title), 16)]
	return append(append(b, title...), strings.Repeat(" ", 16-len(title))...)
}

func appendText(b []byte, item byte, text string) []byte {
	return appendItem(b, item, func(b []byte) []byte { return append(b, text...) })
}

func appendItem(b []byte, item byte, body func([]byte) []byte) []byte {
	b = append(b, item, 0, 0, 0)
	at := len(b)
	b = body(b)
	binary.BigEndian.PutUint16(b[at-2:], uint16(len(b)-at))
	return b
}
