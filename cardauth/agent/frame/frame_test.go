package frame

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a gateway may have a card do, and what not: one row for each.
func TestAttackCommandsOutsideTheList(t *testing.T) {
	for _, c := range []struct {
		what, cmd string
		shown, ok bool
	}{
		{"choose PIV", "00A40400 0B A000000308000010000100 00", false, true},
		{"choose PIV, short", "00A40400 09 A00000030800001000 00", true, true},
		{"choose PKCS #15", "00A4040C 0C A000000063504B43532D3135", false, true},
		{"read 9A's certificate", "00CB3FFF 05 5C035FC105 00", true, true},
		{"discovery", "00CB3FFF 03 5C017E 00", false, true},
		{"go on", "00C00000 20", true, true},
		{"ask the tries", "00200080", false, true},
		{"forget the PIN", "0020FF80", true, true},
		{"choose a file", "00A4080C 04 50155031", false, true},
		{"read it", "00B00000 00", false, true},

		{"VERIFY", "00200080 08 313233343536FFFF", false, false},
		{"VERIFY with a length alone", "00200080 08", false, false},
		{"VERIFY, chained", "10200080 08 313233343536FFFF", false, false},
		{"CHANGE REFERENCE DATA", "00240080 10 313233343536FFFF 363534333231FFFF", false, false},
		{"RESET RETRY COUNTER", "002C0080 10 3132333435363738 363534333231FFFF", false, false},
		{"GENERAL AUTHENTICATE", "0087119A 26 7C24820081200000000000000000000000000000000000000000000000000000000000000000", true, false},
		{"COMPUTE DIGITAL SIGNATURE", "002A9E9A 04 01020304 00", true, false},
		{"MANAGE SECURITY ENVIRONMENT", "002241B6 03 840101", true, false},
		{"PUT DATA", "00DB3FFF 05 5C035FC105", false, false},
		{"make a key", "0047009A 05 AC03800111 00", false, false},
		{"the holder's face", "00CB3FFF 05 5C035FC108 00", true, false},
		{"the fingerprints", "00CB3FFF 05 5C035FC103 00", true, false},
		{"another application", "00A40400 07 A0000000041010", false, false},
		{"any application", "00A40400 00", false, false},
		{"a private file", "00A4080C 04 50154401", true, false},
		{"read after the PIN", "00B00000 00", true, false},
		{"UPDATE BINARY", "00D60000 02 0102", false, false},
		{"another class", "80CB3FFF 05 5C035FC105 00", false, false},
		{"extended length", "00CB3FFF 000005 5C035FC105 0000", false, false},
		{"more data than it says", "00CB3FFF 04 5C035FC105 0000", false, false},
		{"nothing", "", false, false},
	} {
		if err := Allowed(unhex(t, c.cmd), c.shown); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want allowed=%v", c.what, err, c.ok)
		}
	}
}

func TestThereAndBack(t *testing.T) {
	want := Request{ID: 7, Do: Prove, Proof: &Proof{Use: 1, Kind: 0x11, Purpose: "login", Session: "s-1", Nonce: []byte{1, 2}}}
	var b bytes.Buffer
	if err := Write(&b, want); err != nil {
		t.Fatal(err)
	}
	var got Request
	if err := Read(&b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if err := Write(&b, Answer{Data: make([]byte, Max)}); !errors.Is(err, ErrFrame) {
		t.Errorf("a frame beyond Max was written: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty":      {0, 0, 0, 0},
		"4 GiB":      {0xFF, 0xFF, 0xFF, 0xFF, '{'},
		"cut":        {0, 0, 0, 9, '{', '}'},
		"not JSON":   {0, 0, 0, 2, 'x', 'y'},
		"two":        append([]byte{0, 0, 0, 5}, "{} {}"...),
		"unknown":    append([]byte{0, 0, 0, 15}, `{"pin":"123456"`...),
		"wrong type": append([]byte{0, 0, 0, 10}, `{"id":"x"}`...),
	} {
		var got Request
		if err := Read(bytes.NewReader(raw), &got); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"id":1,"do":"transmit","command":"AKQEAAA="}`))
	f.Add([]byte(`{"id":1,"error":{"kind":"wrong-pin","left":2}}`))
	f.Add([]byte(`{"reader":{"name":"x","card":true,"events":3}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var q Request
		if Parse(body, &q) == nil {
			if err := Allowed(q.Command, false); err == nil && len(q.Command) > 4 && q.Command[1] == 0x20 {
				t.Fatalf("a VERIFY with data passed: %X", q.Command)
			}
			var again Request
			var b bytes.Buffer
			if Write(&b, q) == nil && (Read(&b, &again) != nil || again.ID != q.ID || again.Do != q.Do) {
				t.Fatalf("%s came back as %+v", body, again)
			}
		}
		var a Answer
		_ = Parse(body, &a)
	})
}
