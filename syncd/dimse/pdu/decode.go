package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrUnrecognized marks a PDU type that PS3.8 doesn't have; a peer is told so by
// an abort with its own reason.
var ErrUnrecognized = errors.New("unrecognised PDU type")

// ErrInvalid marks a PDU whose content is against the standard or our limits.
var ErrInvalid = errors.New("invalid PDU")

// Reader reads PDUs from a stream into one buffer that grows up to the largest
// PDU seen. Not safe for concurrent use.
type Reader struct {
	src io.Reader
	max uint32 // of a P-DATA-TF, as announced to the peer
	buf []byte
}

// NewReader returns a Reader that refuses P-DATA-TF longer than max bytes.
func NewReader(src io.Reader, max uint32) *Reader { return &Reader{src: src, max: max} }

// Read returns the next PDU. io.EOF means that the stream ended between two
// PDUs; within one it is io.ErrUnexpectedEOF.
func (r *Reader) Read() (PDU, error) {
	var head [6]byte
	if _, err := io.ReadFull(r.src, head[:]); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[2:])
	most, err := r.most(head[0])
	if err != nil {
		return nil, err
	}
	if length > most {
		return nil, fmt.Errorf("%w: type %#02x of %d bytes, want at most %d", ErrInvalid, head[0], length, most)
	}
	if int(length) > cap(r.buf) {
		r.buf = make([]byte, length)
	}
	r.buf = r.buf[:length]
	if _, err := io.ReadFull(r.src, r.buf); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return Parse(head[0], r.buf)
}

// most is the longest body taken for a type, so that a length field alone never
// costs memory.
func (r *Reader) most(kind byte) (uint32, error) {
	switch kind {
	case typeAssociateRQ, typeAssociateAC:
		return MaxAssociate, nil
	case typeData:
		return r.max, nil
	case typeAssociateRJ, typeReleaseRQ, typeReleaseRP, typeAbort:
		return 4, nil
	}
	return 0, fmt.Errorf("%w: %#02x", ErrUnrecognized, kind)
}

// Parse reads the body of a PDU. Only Data keeps a reference to it.
func Parse(kind byte, body []byte) (PDU, error) {
	d := &decoder{rest: body}
	var p PDU
	switch kind {
	case typeAssociateRQ:
		p = d.associateRQ()
	case typeAssociateAC:
		p = d.associateAC()
	case typeAssociateRJ:
		d.take(1)
		p = &AssociateRJ{d.byte(), d.byte(), d.byte()}
	case typeData:
		p = d.data()
	case typeReleaseRQ:
		d.take(4)
		p = &ReleaseRQ{}
	case typeReleaseRP:
		d.take(4)
		p = &ReleaseRP{}
	case typeAbort:
		d.take(2)
		p = &Abort{d.byte(), d.byte()}
	default:
		return nil, fmt.Errorf("%w: %#02x", ErrUnrecognized, kind)
	}
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: type %#02x: %w", ErrInvalid, kind, d.err)
	}
	return p, nil
}

// decoder takes values off the front of rest. After the first fault every take
// gives zeros, so callers check once.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.rest = nil
}

func (d *decoder) take(n int) []byte {
	if len(d.rest) < n {
		d.fail("%d bytes left, want %d", len(d.rest), n)
		return make([]byte, n) // n is a field's size here, at most 32
	}
	v := d.rest[:n:n]
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }

// item opens the next item: its type and a decoder for its content.
func (d *decoder) item() (byte, *decoder) {
	head := d.take(4)
	n := int(binary.BigEndian.Uint16(head[2:]))
	if d.err != nil || len(d.rest) < n {
		d.fail("item %#02x of %d bytes, %d left", head[0], n, len(d.rest))
		return head[0], &decoder{}
	}
	return head[0], &decoder{rest: d.take(n)}
}

// absorb keeps an inner decoder's fault.
func (d *decoder) absorb(inner *decoder) {
	if inner.err != nil {
		d.fail("%w", inner.err)
	}
}

// title reads an AE title (PS3.5 §6.2, AE): leading and trailing spaces are not
// significant. Senders that pad with NUL exist.
func (d *decoder) title() string { return strings.Trim(string(d.take(16)), " \x00") }

// uid reads the rest as a UID. Real ones break the rules (components with leading
// or no digits), so only length and character set are held.
func (d *decoder) uid() string {
	s := strings.TrimRight(string(d.rest), "\x00 ")
	d.rest = nil
	if len(s) > MaxUID || strings.Trim(s, "0123456789.") != "" {
		d.fail("UID %.70q", s)
		return ""
	}
	return s
}

func (d *decoder) associateRQ() *AssociateRQ {
	p := &AssociateRQ{Version: d.uint16()}
	d.take(2)
	p.Called, p.Calling = d.title(), d.title()
	d.take(32)
	for len(d.rest) > 0 {
		kind, in := d.item()
		switch kind {
		case itemApplication:
			p.Application = in.uid()
		case itemContextRQ:
			p.Contexts = append(p.Contexts, in.context())
		case itemUser:
			p.User = in.user()
		}
		d.absorb(in)
		if len(p.Contexts) > MaxContexts {
			d.fail("more than %d presentation contexts", MaxContexts)
		}
	}
	return p
}

func (d *decoder) associateAC() *AssociateAC {
	p := &AssociateAC{Version: d.uint16()}
	d.take(2)
	p.Called, p.Calling = d.title(), d.title()
	d.take(32)
	for len(d.rest) > 0 {
		kind, in := d.item()
		switch kind {
		case itemApplication:
			p.Application = in.uid()
		case itemContextAC:
			p.Results = append(p.Results, in.result())
		case itemUser:
			p.User = in.user()
		}
		d.absorb(in)
		if len(p.Results) > MaxContexts {
			d.fail("more than %d presentation contexts", MaxContexts)
		}
	}
	return p
}

func (d *decoder) context() Context {
	c := Context{ID: d.byte()}
	d.take(3)
	for len(d.rest) > 0 {
		kind, in := d.item()
		switch kind {
		case itemAbstract:
			c.Abstract = in.uid()
		case itemTransfer:
			c.Transfer = append(c.Transfer, in.uid())
		}
		d.absorb(in)
		if len(c.Transfer) > MaxSyntaxes {
			d.fail("more than %d transfer syntaxes in context %d", MaxSyntaxes, c.ID)
		}
	}
	return c
}

func (d *decoder) result() Result {
	r := Result{ID: d.byte()}
	d.take(1)
	r.Reason = d.byte()
	d.take(1)
	for len(d.rest) > 0 {
		kind, in := d.item()
		if kind == itemTransfer {
			r.Transfer = in.uid()
		}
		d.absorb(in)
	}
	return r
}

func (d *decoder) user() User {
	var u User
	for len(d.rest) > 0 {
		kind, in := d.item()
		switch kind {
		case itemMaxLength:
			u.MaxLength = in.uint32()
		case itemClassUID:
			u.ClassUID = in.uid()
		case itemVersionName:
			u.VersionName = strings.Trim(string(in.rest), " \x00")
		}
		d.absorb(in)
	}
	return u
}

func (d *decoder) data() *Data {
	p := &Data{}
	for len(d.rest) > 0 {
		n := d.uint32()
		if n < 2 || uint64(n) > uint64(len(d.rest)) {
			d.fail("presentation data value of %d bytes, %d left", n, len(d.rest))
			break
		}
		v := PDV{Context: d.byte()}
		control := d.byte()
		v.Command, v.Last = control&1 != 0, control&2 != 0
		v.Value = d.take(int(n) - 2)
		p.PDVs = append(p.PDVs, v)
		if len(p.PDVs) > MaxPDVs {
			d.fail("more than %d presentation data values", MaxPDVs)
		}
	}
	return p
}
