package deed

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func sample() *Deed {
	return &Deed{V: 1, Domain: "T-1/uploads", Box: "T-1-a", May: Write, At: noon, Until: noon.Add(time.Hour), Use: 2,
		Blind: [32]byte{9}, Keys: []Version{{1, [32]byte{1}}, {2, [32]byte{2}}}}
}

func pair(t testing.TB) (hpke.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return private, key.PublicKey().Bytes()
}

// A deed opens with its key, for its box, in its domain, whole, and else not.
func TestSealed(t *testing.T) {
	private, point := pair(t)
	other, _ := pair(t)
	d := sample()
	sealed, err := d.Seal(point)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("uploads")) {
		t.Error("a sealed deed can be read")
	}
	got, err := Open(private, d.Box, d.Domain, sealed)
	if err != nil || !reflect.DeepEqual(got, d) {
		t.Fatalf("got %+v, %v", got, err)
	}
	bent := bytes.Clone(sealed)
	bent[len(bent)/2] ^= 1
	for name, open := range map[string]func() (*Deed, error){
		"another key":    func() (*Deed, error) { return Open(other, d.Box, d.Domain, sealed) },
		"another box":    func() (*Deed, error) { return Open(private, "T-1-b", d.Domain, sealed) },
		"another domain": func() (*Deed, error) { return Open(private, d.Box, "T-1/audit", sealed) },
		"altered":        func() (*Deed, error) { return Open(private, d.Box, d.Domain, bent) },
		"cut short":      func() (*Deed, error) { return Open(private, d.Box, d.Domain, sealed[:70]) },
		"nothing":        func() (*Deed, error) { return Open(private, d.Box, d.Domain, nil) },
		"too long":       func() (*Deed, error) { return Open(private, d.Box, d.Domain, make([]byte, MaxSealed+1)) },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: opened as %+v", name, got)
		}
	}
	if _, err := d.Seal(make([]byte, PointSize)); err == nil {
		t.Error("sealed to no point")
	}
}

func TestCheck(t *testing.T) {
	for name, spoil := range map[string]func(*Deed){
		"version":             func(d *Deed) { d.V = 2 },
		"right":               func(d *Deed) { d.May = "own" },
		"no time":             func(d *Deed) { d.At = time.Time{} },
		"over before it was":  func(d *Deed) { d.Until = d.At.Add(-1) },
		"key in use missing":  func(d *Deed) { d.Use = 3 },
		"floor above":         func(d *Deed) { d.Floor = 3 },
		"key under the floor": func(d *Deed) { d.Floor = 2 },
		"order":               func(d *Deed) { d.Keys[0].N = 2; d.Keys[1].N = 1 },
		"twice":               func(d *Deed) { d.Keys[0].N = 2 },
		"zero":                func(d *Deed) { d.Keys[0].N = 0 },
		"too many":            func(d *Deed) { d.Keys[1].N, d.Use = MaxVersion+1, MaxVersion+1 },
		"name":                func(d *Deed) { d.Domain = "uploads" },
	} {
		d := sample()
		if spoil(d); d.check() == nil {
			t.Errorf("%s: passed", name)
		}
	}
	for _, bad := range []string{"", "/", "a", "a/", "/b", "a/b/c", "a b/c", "a/\x1b", strings.Repeat("a", MaxName+1) + "/b"} {
		if CheckName(bad) == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

// Parts that join to the same bytes still give different metadata.
func TestMetadataDoesNotMeet(t *testing.T) {
	if bytes.Equal(Metadata("a", "bc", nil), Metadata("ab", "c", nil)) || bytes.Equal(Metadata("a", "b", []byte("c")), Metadata("a", "", []byte("bc"))) {
		t.Error("two domains share a key")
	}
}

func FuzzParse(f *testing.F) {
	text, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"v":1,"keys":[{"n":1}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parse("T-1-a", "T-1/uploads", text)
		if err != nil {
			return
		}
		if len(d.Keys) == 0 || d.Until.Before(d.At) {
			t.Fatalf("got %+v", d)
		}
	})
}
