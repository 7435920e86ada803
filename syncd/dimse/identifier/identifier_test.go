package identifier

import (
	"bytes"
	"testing"
)

func sample() Set {
	return Set{
		{Tag: 0x00080050, VR: "SH", Value: []byte("A1")},
		{Tag: 0x00400100, VR: "SQ", Items: []Set{{{Tag: 0x00080060, VR: "CS", Value: []byte("ECG ")}, {Tag: 0x00400008, VR: "SQ"}}, nil}},
	}
}

func TestBothWays(t *testing.T) {
	for _, explicit := range []bool{false, true} {
		b := Append(nil, sample(), explicit)
		s, err := Parse(b, explicit)
		if err != nil {
			t.Fatal(err)
		}
		seq, _ := s.Get(0x00400100)
		if s.Text(0x00080050) != "A1" || len(seq.Items) != 2 || seq.Items[0].Text(0x00080060) != "ECG" {
			t.Errorf("explicit %v: %+v", explicit, s)
		}
		if !bytes.Equal(Append(nil, s, explicit), b) {
			t.Errorf("explicit %v: not the same bytes", explicit)
		}
		for n := 1; n < len(b); n++ { // cut anywhere it is whole at a border, or an error
			if s, err := Parse(b[:n], explicit); err == nil && len(s) == len(sample()) {
				t.Errorf("explicit %v, cut at %d: taken as whole", explicit, n)
			}
		}
	}
}

func TestUndefinedLengths(t *testing.T) {
	b := []byte("\x40\x00\x00\x01\xff\xff\xff\xff" + "\xfe\xff\x00\xe0\xff\xff\xff\xff" + "\x08\x00\x60\x00\x02\x00\x00\x00US" +
		"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + "\xfe\xff\xdd\xe0\x00\x00\x00\x00" + "\x40\x00\x01\x10\x00\x00\x00\x00")
	s, err := Parse(b, false)
	if err != nil || len(s) != 2 || s[0].Items[0].Text(0x00080060) != "US" {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, sample(), false), false)
	f.Add(Append(nil, sample(), true), true)
	f.Fuzz(func(t *testing.T, b []byte, explicit bool) {
		s, err := Parse(b, explicit)
		if err != nil || explicit {
			return
		}
		again, err := Parse(Append(nil, s, explicit), explicit)
		if err != nil || len(again) != len(s) {
			t.Fatalf("%v: %d elements, %d before", err, len(again), len(s))
		}
	})
}
