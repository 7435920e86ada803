package pinpad

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

var verify = []byte{0, 0x20, 0, 0x80, 8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}

func TestFeature(t *testing.T) {
	list := []byte{0x12, 4, 0x42, 0, 0x0D, 0xB2, 0x06, 4, 0x42, 0x33, 0, 0x06}
	for _, c := range []struct {
		list []byte
		want uint32
		bad  bool
	}{
		{list, 0x42330006, false},
		{list[:6], 0, false},
		{nil, 0, false},
		{list[:11], 0, true},
		{[]byte{6, 3, 0, 0, 0, 0}, 0, true},
	} {
		got, err := Feature(c.list, Verify)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%X: got %X, %v", c.list, got, err)
		}
	}
}

// The bytes, as a reader's firmware takes them apart.
func TestVerifyStructure(t *testing.T) {
	got, err := VerifyStructure(verify)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{30, 30, 0x82, 8, 0, 8, 6, 2, 1, 9, 4, 0, 0, 0, 0, 13, 0, 0, 0}
	if !bytes.Equal(got, append(want, verify...)) {
		t.Errorf("got %X", got)
	}
	if n := binary.LittleEndian.Uint32(got[15:]); int(n) != len(verify) {
		t.Errorf("length %d", n)
	}
	for _, bad := range [][]byte{nil, verify[:5], verify[:12], {0, 0x24, 0, 0x80, 8, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 0x20, 0, 0x80, 1, 1}} {
		if _, err := VerifyStructure(bad); !errors.Is(err, ErrCommand) {
			t.Errorf("%X: got %v", bad, err)
		}
	}
}

func FuzzFeature(f *testing.F) {
	f.Add([]byte{0x06, 4, 0x42, 0x33, 0, 0x06})
	f.Fuzz(func(t *testing.T, list []byte) {
		if code, err := Feature(list, Verify); err != nil && code != 0 {
			t.Fatal("a code with an error")
		}
	})
}
