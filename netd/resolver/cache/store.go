package cache

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

// The stored form: a magic, the entries from the longest unused to the latest, and
// the CRC-32 of all before it. An entry is
//
//	u16 length of name, name, u16 type, u8 flags, i64 stored, i64 expiry (Unix
//	seconds), u32 length of the message, message
const magic = "clinicgate dns cache 1\n"

// MaxStored bounds a stored cache that is read.
const MaxStored = 32 << 20

const (
	flagDO = 1 << iota
	flagCD
)

var errTorn = errors.New("stored cache: not whole")

// Save returns what Load takes.
func (c *Cache) Save() []byte {
	b := []byte(magic)
	for at := c.used.Back(); at != nil; at = at.Prev() {
		e := at.Value.(*entry)
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.key.Name)))
		b = append(b, e.key.Name...)
		b = binary.BigEndian.AppendUint16(b, e.key.Type)
		flags := byte(0)
		if e.key.DO {
			flags |= flagDO
		}
		if e.key.CD {
			flags |= flagCD
		}
		b = append(b, flags)
		b = binary.BigEndian.AppendUint64(b, uint64(e.stored.Unix()))
		b = binary.BigEndian.AppendUint64(b, uint64(e.expiry.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.wire)))
		b = append(b, e.wire...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// Load adds what was saved. A clock that went back since proves nothing about an
// answer's age: then it is stale.
func (c *Cache) Load(b []byte, now time.Time) error {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic || crc32.ChecksumIEEE(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return errTorn
	}
	r := reader{b: b[len(magic) : len(b)-4]}
	for len(r.b) > 0 {
		e := &entry{key: Key{Name: string(r.take(int(r.number(2))))}}
		e.key.Type = uint16(r.number(2))
		flags := r.number(1)
		e.key.DO, e.key.CD = flags&flagDO != 0, flags&flagCD != 0
		e.stored, e.expiry = time.Unix(int64(r.number(8)), 0), time.Unix(int64(r.number(8)), 0)
		e.wire = append([]byte(nil), r.take(int(r.number(4)))...)
		if r.short {
			return errTorn
		}
		if now.Before(e.stored) || e.expiry.Sub(e.stored) > maxTTL {
			e.stored, e.expiry = now, now
		}
		if !now.After(e.expiry.Add(c.maxStale)) {
			c.put(e)
		}
	}
	return nil
}

// reader takes bytes from the front; short: there were fewer than asked for.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// number reads a big-endian number of n bytes.
func (r *reader) number(n int) (v uint64) {
	for _, x := range r.take(n) {
		v = v<<8 | uint64(x)
	}
	return v
}
