package efi

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
)

var slotB = Option{
	Description: "clinicgate b",
	Partition:   Partition{Number: 1, Start: 2048, Size: 196608, GUID: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"},
	Path:        "/EFI/clinicgate/b.efi",
}

// The bytes by hand from the specification's tables.
func TestLoadOption(t *testing.T) {
	const want = "01000000" + "5e00" + // active; length of the path
		"63006c0069006e00690063006700610074006500200062000000" + // "clinicgate b"
		"04012a00" + "01000000" + "0008000000000000" + "0000030000000000" +
		"28732ac11ff8d211ba4b00a0c93ec93b" + "0202" +
		"04043000" + "5c004500460049005c0063006c0069006e006900630067006100740065005c0062002e006500660069000000" +
		"7fff0400"
	got, err := slotB.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
	if back, err := Unmarshal(got); err != nil || back != slotB {
		t.Errorf("got %+v, %v", back, err)
	}
}

func TestForeignOptions(t *testing.T) {
	good, _ := slotB.Marshal()
	network := slices.Concat([]byte{1, 0, 0, 0, 8, 0}, Text("UEFI PXEv4"), []byte{3, 11, 4, 0}, []byte{0x7f, 0xff, 4, 0})
	if o, err := Unmarshal(network); err != nil || o.Description != "UEFI PXEv4" || o.Path != "" {
		t.Errorf("network boot: %+v, %v", o, err)
	}
	long := slices.Clone(good)
	long[4] = 0xff
	tiny := slices.Clone(good)
	tiny[6+26+2] = 3 // the first node's length
	for name, bad := range map[string][]byte{"empty": nil, "cut": good[:20], "path longer than data": long, "node shorter than its head": tiny} {
		if o, err := Unmarshal(bad); err == nil {
			t.Errorf("%s: got %+v", name, o)
		}
	}
	for _, guid := range []string{"", "c12a7328", strings.Repeat("x", 32)} {
		o := slotB
		o.Partition.GUID = guid
		if _, err := o.Marshal(); err == nil {
			t.Errorf("GUID %q is taken", guid)
		}
	}
}

func TestOrder(t *testing.T) {
	order := Numbers(Order(0, 1, 0xc1))
	if !slices.Equal(order, []uint16{0, 1, 0xc1}) {
		t.Errorf("got %v", order)
	}
	if got := Promote(order, 0xc2, 0xc1); !slices.Equal(got, []uint16{0xc2, 0xc1, 0, 1}) {
		t.Errorf("got %v", got)
	}
	if got := Numbers([]byte{1, 0, 7}); !slices.Equal(got, []uint16{1}) {
		t.Errorf("half a number: %v", got)
	}
}

func TestText(t *testing.T) {
	for _, s := range []string{"", "a", "Ä€𝄞"} {
		if got := String(Text(s)); got != s {
			t.Errorf("got %q, want %q", got, s)
		}
	}
	if got := String([]byte{'x', 0}); got != "x" {
		t.Errorf("text without its zero: %q", got)
	}
}

func FuzzUnmarshal(f *testing.F) {
	good, _ := slotB.Marshal()
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := Unmarshal(data)
		if err != nil || o.Partition.GUID == "" {
			return
		}
		again, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unmarshal(again); err != nil || back.Partition != o.Partition {
			t.Errorf("%x: %+v, then %+v, %v", data, o, back, err)
		}
	})
}
