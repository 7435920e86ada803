package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func open(t *testing.T, dir string) *Vault {
	t.Helper()
	v, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestKeySurvivesAndStaysPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets", "syncd")
	v := open(t, dir)
	sealed := v.Domain("uploads").Seal(nil, []byte("text"), []byte("id"))
	if !v.Fresh() {
		t.Error("the first start did not say that it made the key")
	}
	fi, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v; want mode 0600", fi, err)
	}
	again := open(t, dir)
	if again.Fresh() {
		t.Error("the second start claims to have made the key")
	}
	got, err := again.Domain("uploads").Open(nil, sealed, []byte("id"))
	if err != nil || string(got) != "text" {
		t.Fatalf("after a restart: got %q, %v", got, err)
	}
	if again.Domain("uploads").Blind([]byte("id")) != v.Domain("uploads").Blind([]byte("id")) {
		t.Error("the blinded name changed over a restart")
	}
}

func TestDamagedKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	path := filepath.Join(dir, keyFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(keyTag)+5] ^= 1 // another hex digit, or none
	for name, text := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "flipped": flipped,
		"other tag": append([]byte("x"), good...), "long": bytes.Repeat(good, 3),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil {
			t.Errorf("%s: a damaged key was used", name)
		}
		if kept, _ := os.ReadFile(path); !bytes.Equal(kept, text) {
			t.Errorf("%s: the damaged key was overwritten", name)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a key that others can read was used")
	}
}

// What was sealed opens as itself only: same domain, same identity, every bit.
func TestSealBinds(t *testing.T) {
	v := open(t, t.TempDir())
	a, b := v.Domain("a"), v.Domain("b")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "text")
		id := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "id")
		head := []byte("head")
		sealed := a.Seal(bytes.Clone(head), text, id)
		if !bytes.Equal(sealed[:4], head) || len(sealed) != 4+len(text)+Overhead {
			t.Fatalf("sealed %d bytes to %d after the head", len(text), len(sealed)-4)
		}
		sealed = sealed[4:]
		got, err := a.Open(bytes.Clone(head), sealed, id)
		if err != nil || !bytes.Equal(got, append(head, text...)) {
			t.Fatalf("got %x, %v", got, err)
		}
		spoilt := bytes.Clone(sealed)
		spoilt[rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		short := sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "short")]
		for name, err := range map[string]error{
			"bit flip":       second(a.Open(nil, spoilt, id)),
			"cut short":      second(a.Open(nil, short, id)),
			"other domain":   second(b.Open(nil, sealed, id)),
			"other identity": second(a.Open(nil, sealed, append(bytes.Clone(id), 0))),
		} {
			if !errors.Is(err, ErrSealed) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func second(_ []byte, err error) error { return err }

// Names and nonces that join to the same bytes still give different keys.
func TestDomainsDoNotMeet(t *testing.T) {
	m := &software{}
	x, y := New(m, []byte("bc")).Domain("a"), New(m, []byte("c")).Domain("ab")
	if x.Blind(nil) == y.Blind(nil) {
		t.Fatal("domain a with nonce bc and domain ab with nonce c share a key")
	}
}

type noKey struct{}

func (noKey) DomainKey([]byte) ([32]byte, error) {
	return [32]byte{}, errors.New("tpm: not in a trusted state")
}
func (noKey) State() string { return "tpm" }

func TestDomainWithoutKey(t *testing.T) {
	d := New(noKey{}, nil).Domain("uploads")
	if d.Err() == nil {
		t.Fatal("no word about the missing key")
	}
	if _, err := d.Open(nil, make([]byte, 100), nil); err == nil {
		t.Fatal("opened without a key")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("sealed without a key")
		}
	}()
	d.Seal(nil, []byte("text"), nil)
}

func FuzzParseMaster(f *testing.F) {
	f.Add((&software{}).text())
	f.Add(keyTag + " 00 00 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMaster(text)
		if err != nil {
			return
		}
		if again, err := parseMaster(m.text()); err != nil || *again != *m {
			t.Fatalf("%q reads back as %v, %v", m.text(), again, err)
		}
	})
}

func BenchmarkSeal64K(b *testing.B) {
	v, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	d, text := v.Domain("uploads"), make([]byte, 64<<10)
	b.SetBytes(int64(len(text)))
	var out []byte
	for b.Loop() {
		out = d.Seal(out[:0], text, []byte("id"))
	}
}
