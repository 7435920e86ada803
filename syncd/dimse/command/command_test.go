package command

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// A C-ECHO-RQ as dcmtk's echoscu sends it.
const echoRQ = "00000000040000003800000000000200120000003 12e322e3834302e31303030382e312e3100" +
	"000000010200000030000000100102000000010000000008020000000101"

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseEcho(t *testing.T) {
	want := Command{Field: EchoRQ, MessageID: 1, Class: "1.2.840.10008.1.1"}
	got, err := Parse(unhex(t, echoRQ))
	if err != nil || got != want {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	if b := Append(nil, want); !reflect.DeepEqual(b, unhex(t, echoRQ)) {
		t.Fatalf("encoded %x, want %s", b, echoRQ)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []Command{
		{Field: StoreRQ, MessageID: 7, Class: "1.2.3", Instance: "1.2.3.4", Priority: 2, HasData: true},
		{Field: StoreRSP, RespondedTo: 7, Class: "1.2.3", Instance: "1.2.3.4", Status: 0xA700, Comment: "storage full"},
		{Field: EchoRSP, RespondedTo: 65535, Class: "1.2"},
	} {
		got, err := Parse(Append(nil, c))
		if err != nil || got != c {
			t.Errorf("got %+v, %v, want %+v", got, err, c)
		}
	}
	long := Append(nil, Command{Field: StoreRSP, Comment: strings.Repeat("x", 100)})
	if got, _ := Parse(long); len(got.Comment) != 64 {
		t.Errorf("comment of %d characters, want the standard's 64", len(got.Comment))
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":           "",
		"half an element":   "00000001",
		"other group":       "08000001 02000000 3000",
		"longer than there": "00000001 08000000 3000",
		"field of 4 bytes":  "00000001 04000000 30000000 00000008 02000000 0101",
		"twice":             "00000001 02000000 3000 00000001 02000000 3000",
		"no data set type":  "00000001 02000000 3000",
	} {
		if c, err := Parse(unhex(t, in)); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}

func TestFieldNames(t *testing.T) {
	if StoreRQ.Response() != StoreRSP || !EchoRQ.Request() || StoreRSP.Request() || Cancel.Request() {
		t.Error("requests and answers mixed up")
	}
	if StoreRQ.String() != "C-STORE-RQ" || Field(0x4242).String() != "command 0x4242" {
		t.Error("names")
	}
}

// Whatever is accepted is written and read again as the same, as far as its kind
// of command has the fields.
func FuzzParse(f *testing.F) {
	f.Add(unhex(f, echoRQ))
	f.Add(Append(nil, Command{Field: StoreRQ, MessageID: 7, Class: "1.2.3", Instance: "1.2.3.4", HasData: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(Append(nil, c))
		if err != nil || again.Field != c.Field || again.HasData != c.HasData || again.Class != c.Class {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
