package nvram

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/efi"
)

// blank is a volume with a store that has room for a few variables.
func blank() []byte {
	image := bytes.Repeat([]byte{0xff}, 512)
	binary.LittleEndian.PutUint16(image[volumeLengthAt:], 72)
	copy(image[72:], authenticated)
	binary.LittleEndian.PutUint32(image[72+storeSizeAt:], 400)
	image[72+storeFormatAt] = formatted
	return image
}

func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(path, blank(), 0o600); err != nil {
		t.Fatal(err)
	}
	next := Variable{"BootNext", efi.Global, Lasting | Boot | Runtime, efi.Order(0xcb)}
	if err := Add(path, next, Variable{"Boot", efi.Global, Lasting, []byte("xyz")}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first, second := got[72+storeHeader:], got[72+storeHeader+variableHeader+18+2:]
	if !bytes.HasPrefix(first, []byte{0xaa, 0x55, 0x3f, 0, 7, 0, 0, 0}) || !bytes.HasPrefix(second, []byte{0xaa, 0x55, 0x3f, 0, 1}) {
		t.Errorf("first variable % x\nsecond % x", first[:80], second[:80])
	}
	for want, v := range map[string]Variable{
		"is there already": next,
		"the store has":    {"Other", efi.Global, Lasting, make([]byte, 400)},
		"want 32":          {"Other", "nobody", Lasting, nil},
	} {
		if err := Add(path, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzAdd(f *testing.F) {
	f.Add(blank(), "BootNext")
	f.Add([]byte("no store"), "x")
	f.Fuzz(func(t *testing.T, image []byte, name string) {
		s, err := open(bytes.Clone(image))
		if err != nil {
			return
		}
		if s.add(Variable{name, efi.Global, Lasting, []byte{1}}) == nil && len(name) > 0 && !strings.ContainsAny(name, "\x00\ufffd") {
			if err := s.add(Variable{name, efi.Global, Lasting, []byte{1}}); err == nil && efi.String(efi.Text(name)) == name {
				t.Errorf("%q twice", name)
			}
		}
	})
}
