package pdu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func samples() []PDU {
	user := User{MaxLength: 16384, ClassUID: "1.2.276.0.7230010.3.0.3.6.7", VersionName: "OFFIS_DCMTK_367"}
	return []PDU{
		&AssociateRQ{Version: 1, Called: "CLINICGATE", Calling: "ECGCART", Application: ApplicationContextUID, User: user,
			Contexts: []Context{
				{ID: 1, Abstract: "1.2.840.10008.1.1", Transfer: []string{"1.2.840.10008.1.2"}},
				{ID: 3, Abstract: "1.2.840.10008.5.1.4.1.1.9.1.1", Transfer: []string{"1.2.840.10008.1.2.1", "1.2.840.10008.1.2"}},
			}},
		&AssociateAC{Version: 1, Called: "CLINICGATE", Calling: "ECGCART", Application: ApplicationContextUID, User: user,
			Results: []Result{{ID: 1, Transfer: "1.2.840.10008.1.2"}, {ID: 3, Reason: ContextNoTransfer, Transfer: "1.2.840.10008.1.2"}}},
		&AssociateRJ{RejectedPermanent, SourceUser, UserCalledUnknown},
		&Data{PDVs: []PDV{
			{Context: 1, Command: true, Last: true, Value: []byte("command")},
			{Context: 1, Value: []byte("data")},
			{Context: 3, Last: true, Value: []byte{}},
		}},
		&ReleaseRQ{}, &ReleaseRP{}, &Abort{AbortProvider, AbortUnexpected},
	}
}

func TestRoundTrip(t *testing.T) {
	var stream []byte
	for _, p := range samples() {
		stream = Append(stream, p)
	}
	r := NewReader(iotest.OneByteReader(bytes.NewReader(stream)), 16384)
	for _, want := range samples() {
		got, err := r.Read()
		if err != nil {
			t.Fatalf("%v: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v, want EOF", err)
	}
}

// The bytes of the shortest PDUs, written out from PS3.8 tables 9-21 to 9-26.
func TestWireFormat(t *testing.T) {
	for _, c := range []struct {
		p    PDU
		want string
	}{
		{&AssociateRJ{1, 2, 3}, "\x03\x00\x00\x00\x00\x04\x00\x01\x02\x03"},
		{&Data{PDVs: []PDV{{Context: 5, Command: true, Last: true, Value: []byte("ab")}}},
			"\x04\x00\x00\x00\x00\x08\x00\x00\x00\x04\x05\x03ab"},
		{&ReleaseRQ{}, "\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"},
		{&ReleaseRP{}, "\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"},
		{&Abort{2, 6}, "\x07\x00\x00\x00\x00\x04\x00\x00\x02\x06"},
	} {
		if got := string(Append(nil, c.p)); got != c.want {
			t.Errorf("%v: %x, want %x", c.p, got, c.want)
		}
	}
}

func TestUnknownItemsAreIgnored(t *testing.T) {
	rq := samples()[0].(*AssociateRQ)
	b := Append(nil, rq)
	b = append(b, 0x99, 0, 0, 2, 'h', 'i') // an item no standard has
	binary.BigEndian.PutUint32(b[2:], uint32(len(b)-6))
	got, err := NewReader(bytes.NewReader(b), 1).Read()
	if err != nil || !reflect.DeepEqual(got, rq) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	manyContexts := &AssociateRQ{Application: ApplicationContextUID}
	for i := range MaxContexts + 1 {
		manyContexts.Contexts = append(manyContexts.Contexts, Context{ID: byte(i)})
	}
	manySyntaxes := &AssociateRQ{Contexts: []Context{{ID: 1, Transfer: make([]string, MaxSyntaxes+1)}}}
	manyValues := &Data{PDVs: make([]PDV, MaxPDVs+1)}
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"http":              {"GET / HTTP/1.1\r\n\r\n", ErrUnrecognized},
		"tls":               {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ErrUnrecognized},
		"half a header":     {"\x05\x00\x00", io.ErrUnexpectedEOF},
		"half a body":       {"\x05\x00\x00\x00\x00\x04\x00", io.ErrUnexpectedEOF},
		"no body":           {"\x05\x00\x00\x00\x00\x04", io.ErrUnexpectedEOF},
		"4 GB of data":      {"\x04\x00\xff\xff\xff\xff", ErrInvalid},
		"4 GB of request":   {"\x01\x00\xff\xff\xff\xff", ErrInvalid},
		"release of 5":      {"\x05\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00", ErrInvalid},
		"abort of 3":        {"\x07\x00\x00\x00\x00\x03\x00\x00\x00", ErrInvalid},
		"value too long":    {"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x09\x01\x03", ErrInvalid},
		"value too short":   {"\x04\x00\x00\x00\x00\x05\x00\x00\x00\x01\x01", ErrInvalid},
		"too many contexts": {string(Append(nil, manyContexts)), ErrInvalid},
		"too many syntaxes": {string(Append(nil, manySyntaxes)), ErrInvalid},
		"too many values":   {string(Append(nil, manyValues)), ErrInvalid},
		"letters in a UID":  {string(Append(nil, &AssociateRQ{Application: "1.2.x"})), ErrInvalid},
		"UID of 65":         {string(Append(nil, &AssociateRQ{Application: strings.Repeat("1", 65)})), ErrInvalid},
	} {
		p, err := NewReader(strings.NewReader(c.in), 64<<10).Read()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, p, err, c.want)
		}
	}
}

// Parse, append and parse again give the same, and memory stays within what the
// input's own length allows.
func FuzzRead(f *testing.F) {
	for _, p := range samples() {
		f.Add(Append(nil, p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), 16384)
		for {
			p, err := r.Read()
			if err != nil {
				return
			}
			again, err := NewReader(bytes.NewReader(Append(nil, p)), 16384).Read()
			if err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%+v became %+v, %v", p, again, err)
			}
		}
	})
}
