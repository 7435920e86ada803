package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Layout of a record, all numbers big endian:
//
//	0   crc     uint32  CRC-32C over salt, bytes 4 to 24 and the record
//	4   length  uint32  of the record
//	8   gen     uint64  generation of the segment
//	16  offset  uint32  of this frame in the segment
//	20  synced  uint32  all before this offset was durable when this was written
//	24  record, then zeros to a multiple of 8
const (
	frameHead  = 24
	frameAlign = 8
)

// Layout of a segment header:
//
//	0   crc     uint32  CRC-32C over the rest of this copy
//	4   magic   "CGSG"
//	8   version uint32
//	12  size    uint32  of the file
//	16  gen     uint64
//	24  salt    [8]byte
//	32  count   uint32  of ends, then for each: gen uint64, end uint32
//
// There are two copies, so that one bad sector doesn't cost a segment.
const (
	headerCopy = 8 << 10
	headerSize = 2 * headerCopy
	headerHead = 36
	endSize    = 12
	maxLive    = (headerCopy - headerHead) / endSize // segments a log can have
	version    = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header says what a segment is and where those before it end.
type header struct {
	gen  uint64
	size int64
	salt [8]byte
	ends map[uint64]int64 // of the live segments when this one began
}

var errHeader = errors.New("no valid segment header")

// appendTo appends both copies.
func (h *header) appendTo(b []byte) []byte {
	c := make([]byte, headerHead, headerCopy)
	copy(c[4:], "CGSG")
	binary.BigEndian.PutUint32(c[8:], version)
	binary.BigEndian.PutUint32(c[12:], uint32(h.size))
	binary.BigEndian.PutUint64(c[16:], h.gen)
	copy(c[24:], h.salt[:])
	binary.BigEndian.PutUint32(c[32:], uint32(len(h.ends)))
	for gen, end := range h.ends {
		c = binary.BigEndian.AppendUint64(c, gen)
		c = binary.BigEndian.AppendUint32(c, uint32(end))
	}
	c = c[:headerCopy]
	binary.BigEndian.PutUint32(c, crc32.Checksum(c[4:], castagnoli))
	return append(append(b, c...), c...)
}

// parseHeader reads the first good copy.
func parseHeader(b []byte) (*header, error) {
	for len(b) >= headerCopy {
		c := b[:headerCopy]
		b = b[headerCopy:]
		if string(c[4:8]) != "CGSG" || binary.BigEndian.Uint32(c) != crc32.Checksum(c[4:], castagnoli) {
			continue
		}
		if v := binary.BigEndian.Uint32(c[8:]); v != version {
			return nil, fmt.Errorf("segment header of version %d, want %d", v, version)
		}
		n := binary.BigEndian.Uint32(c[32:])
		if n > maxLive {
			continue
		}
		h := &header{
			gen: binary.BigEndian.Uint64(c[16:]), size: int64(binary.BigEndian.Uint32(c[12:])),
			salt: [8]byte(c[24:32]), ends: make(map[uint64]int64, n),
		}
		for e := c[headerHead:]; n > 0; n, e = n-1, e[endSize:] {
			h.ends[binary.BigEndian.Uint64(e)] = int64(binary.BigEndian.Uint32(e[8:]))
		}
		return h, nil
	}
	return nil, errHeader
}

// frameSize is the room a record of n bytes takes.
func frameSize(n int) int64 {
	return (int64(n) + frameHead + frameAlign - 1) &^ (frameAlign - 1)
}

// frame is a record's head.
type frame struct {
	crc            uint32
	length         int
	offset, synced int64
}

// appendFrame appends the record as it lies in the segment at offset.
func (h *header) appendFrame(b, record []byte, offset, synced int64) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHead)...)
	head := b[at:]
	binary.BigEndian.PutUint32(head[4:], uint32(len(record)))
	binary.BigEndian.PutUint64(head[8:], h.gen)
	binary.BigEndian.PutUint32(head[16:], uint32(offset))
	binary.BigEndian.PutUint32(head[20:], uint32(synced))
	binary.BigEndian.PutUint32(head, h.sum(head, record))
	b = append(b, record...)
	pad := frameSize(len(record)) - frameHead - int64(len(record))
	return append(b, make([]byte, pad)...)
}

func (h *header) sum(head, record []byte) uint32 {
	crc := crc32.Update(0, castagnoli, h.salt[:])
	crc = crc32.Update(crc, castagnoli, head[4:frameHead])
	return crc32.Update(crc, castagnoli, record)
}

// parseFrame reads the head of a frame that lies at offset in h's segment. False
// means that none can begin there; true, that its checksum is worth computing.
func (h *header) parseFrame(head []byte, offset int64) (frame, bool) {
	f := frame{
		crc:    binary.BigEndian.Uint32(head),
		length: int(binary.BigEndian.Uint32(head[4:])),
		offset: int64(binary.BigEndian.Uint32(head[16:])),
		synced: int64(binary.BigEndian.Uint32(head[20:])),
	}
	ok := binary.BigEndian.Uint64(head[8:]) == h.gen && f.offset == offset &&
		f.length <= MaxRecord && offset+frameSize(f.length) <= h.size &&
		f.synced >= headerSize && f.synced <= offset
	return f, ok
}
