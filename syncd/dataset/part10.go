package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// Who we are to DICOM peers and in the files we write (PS3.7 §D.3.3.2). The UID is
// 2.25. and the name-based UUID (version 5, URL namespace) of
// "urn:clinicgate:dicom-implementation" as a decimal number (PS3.5 §B.2).
const (
	ImplementationClassUID = "2.25.52845250095770429756822708699904691607"
	ImplementationVersion  = "CLINICGATE_1"
)

// Meta is what the header of a DICOM file says of the data set behind it (PS3.10
// §7.1).
type Meta struct{ Class, Instance, Syntax string }

// maxMeta bounds the header of a file; real ones are under 1 kB.
const maxMeta = 64 << 10

// Append appends preamble and header of a file. The same instance in the same
// transfer syntax always gets the same header: who sent it is not part of it, so
// that the file's digest is the data's.
func (m Meta) Append(b []byte) []byte {
	var g []byte
	g = append(g, "\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"...)
	g = appendMeta(g, 0x02, "UI", m.Class)
	g = appendMeta(g, 0x03, "UI", m.Instance)
	g = appendMeta(g, 0x10, "UI", m.Syntax)
	g = appendMeta(g, 0x12, "UI", ImplementationClassUID)
	g = appendMeta(g, 0x13, "SH", ImplementationVersion)
	b = append(append(b, make([]byte, 128)...), "DICM"...)
	b = append(b, "\x02\x00\x00\x00UL\x04\x00"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(g)))
	return append(b, g...)
}

func appendMeta(b []byte, elem byte, vr, value string) []byte {
	if len(value)%2 == 1 {
		value += map[string]string{"UI": "\x00", "SH": " "}[vr]
	}
	b = append(b, 2, 0, elem, 0)
	b = binary.LittleEndian.AppendUint16(append(b, vr...), uint16(len(value)))
	return append(b, value...)
}

// ReadMeta reads preamble and header of a file and leaves src at its data set.
// head is what it read, for the caller to keep.
func ReadMeta(src io.Reader) (m Meta, head []byte, err error) {
	head = make([]byte, 128+4+12)
	if _, err := io.ReadFull(src, head); err != nil {
		return m, head, noMeta("%v", err)
	}
	first := head[132:]
	if string(head[128:132]) != "DICM" || !bytes.HasPrefix(first, []byte("\x02\x00\x00\x00UL\x04\x00")) {
		return m, head, noMeta("no DICM and (0002,0000) after the preamble")
	}
	size := binary.LittleEndian.Uint32(first[8:])
	if size > maxMeta {
		return m, head, noMeta("%d bytes, want at most %d", size, maxMeta)
	}
	group := make([]byte, size)
	if _, err := io.ReadFull(src, group); err != nil {
		return m, head, noMeta("%v", err)
	}
	return m, append(head, group...), m.parse(group)
}

// parse reads the elements of group 0002, always Explicit VR Little Endian.
func (m *Meta) parse(b []byte) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return noMeta("%d bytes left, want an element", len(b))
		}
		tag := nest{}.tag(b)
		long, known := longForm([2]byte(b[4:6]))
		from, length := 8, uint32(binary.LittleEndian.Uint16(b[6:]))
		if long {
			if len(b) < 12 {
				return noMeta("%d bytes left in %v, want 12", len(b), tag)
			}
			from, length = 12, binary.LittleEndian.Uint32(b[8:])
		}
		if tag>>16 != 2 || !known || uint64(length) > uint64(len(b)-from) {
			return noMeta("element %v of %d bytes, %d left", tag, length, len(b)-from)
		}
		value := strings.TrimRight(string(b[from:from+int(length)]), "\x00 ")
		switch tag {
		case 0x00020002:
			m.Class = value
		case 0x00020003:
			m.Instance = value
		case 0x00020010:
			m.Syntax = value
		}
		b = b[from+int(length):]
	}
	if m.Syntax == "" {
		return noMeta("no transfer syntax (0002,0010)")
	}
	return nil
}

func noMeta(format string, args ...any) error {
	return fmt.Errorf("%w: file header: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
